import { binding, RandomKind } from '../binding.js'
import { type Device, deviceNumber, deviceOption } from '../device.js'
import { checkBoolean, checkInteger, checkOptions, formatShape, rangeError } from '../errors.js'
import { checkFloat } from '../ops/common.js'
import { gatherRows } from '../ops/gather.js'
import { fillInto, randomInto } from '../ops/in_place.js'
import { nextRandom } from '../random.js'
import { checkShape, numelOf, Tensor } from '../tensor.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

/** What {@link Embedding} takes. */
export interface EmbeddingOptions {
  /** A row that starts as zeros and gets no gradient; negative counts from the end. */
  paddingIdx?: number | null
}

export interface EmbeddingLayerOptions extends EmbeddingOptions {
  /** Where the table is made. Default: the default device. */
  device?: string | Device
}

/** Rows of a table. @throws TypeError, RangeError */
export function embedding(indices: Tensor, weight: Tensor, options: EmbeddingOptions = {}): Tensor {
  checkOptions('embedding', options, ['paddingIdx'])
  return lookUp('embedding', indices, weight, options.paddingIdx)
}

/** @param owner what a wrong index is said to be of */
function lookUp(
  owner: string,
  indices: Tensor,
  weight: Tensor,
  padding: number | null | undefined,
): Tensor {
  checkFloat('embedding', 'weight', weight)
  if (weight.shape.length !== 2)
    throw rangeError('embedding', 'weight', 'shape (V, E)', formatShape(weight.shape))
  const paddingIdx = checkPadding('embedding', padding, weight.shape[0] as number)
  const options = paddingIdx === null ? { owner } : { owner, paddingIdx }
  return gatherRows('embedding', weight, indices, options)
}

function checkPadding(fn: string, value: number | null | undefined, rows: number): number | null {
  if (value === undefined || value === null) return null
  const index = checkInteger(fn, 'paddingIdx', value, -rows, rows - 1)
  return index < 0 ? index + rows : index
}

/** The latest name: putting it together takes a tenth of the time of a small look-up. */
let latest = { rows: 0, width: 0, name: '' }

/** What errors of an index call an embedding. */
function nameOf(rows: number, width: number): string {
  if (latest.rows !== rows || latest.width !== width)
    latest = { rows, width, name: `nn.Embedding(${rows}, ${width})` }
  return latest.name
}

/**
 * A table of vectors, looked up by index; as `torch.nn.Embedding`. `weight` `[V, E]` starts N(0, 1).
 */
export class Embedding extends Module {
  readonly numEmbeddings: number
  readonly embeddingDim: number
  /** The row without gradient, or null. */
  readonly paddingIdx: number | null
  weight: Tensor

  /** @throws TypeError, RangeError */
  constructor(numEmbeddings: number, embeddingDim: number, options: EmbeddingLayerOptions = {}) {
    super()
    this.numEmbeddings = checkInteger('Embedding', 'numEmbeddings', numEmbeddings, 1)
    this.embeddingDim = checkInteger('Embedding', 'embeddingDim', embeddingDim, 1)
    checkOptions('Embedding', options, ['paddingIdx', 'device'])
    this.paddingIdx = checkPadding('Embedding', options.paddingIdx, numEmbeddings)
    const shape = checkShape('Embedding', [numEmbeddings, embeddingDim])
    const device = deviceOption('Embedding', options.device)
    const table = binding.fill(numelOf(shape), 0, deviceNumber(device))
    this.weight = Parameter(Tensor.wrap(table, shape, device))
    this.resetParameters()
  }

  /**
   * An embedding with given values; as `Embedding.from_pretrained`.
   * @param weight `[V, E]`; becomes the parameter itself
   * @param options `freeze` (default true): no gradient
   */
  static fromPretrained(
    weight: Tensor,
    options: EmbeddingOptions & { freeze?: boolean } = {},
  ): Embedding {
    checkFloat('Embedding.fromPretrained', 'weight', weight)
    checkOptions('Embedding.fromPretrained', options, ['paddingIdx', 'freeze'])
    const { freeze = true, ...rest } = options
    checkBoolean('Embedding.fromPretrained', 'freeze', freeze)
    if (weight.shape.length !== 2) {
      throw rangeError(
        'Embedding.fromPretrained',
        'weight',
        'shape (V, E)',
        formatShape(weight.shape),
      )
    }
    const result = new Embedding(weight.shape[0] as number, weight.shape[1] as number, rest)
    result.weight = Parameter(weight, !freeze)
    return result
  }

  /** Draws the table anew. */
  resetParameters(): void {
    randomInto('resetParameters', this.weight, RandomKind.normal, 0, 1, nextRandom())
    if (this.paddingIdx !== null) {
      const row = this.weight.viewAs([this.embeddingDim], this.paddingIdx * this.embeddingDim)
      fillInto('resetParameters', row, 0)
      row[Symbol.dispose]()
    }
  }

  /**
   * int32 indices of any shape → `[...shape, E]`. An index outside [0, V) is found when the queue
   * gets there and rejects the next promise with this layer's sizes, the index and its place, counted
   * row by row: `[nn.Embedding(100, 8)] index[37]: …`.
   * @throws TypeError
   */
  override forward(indices: Tensor): Tensor {
    return lookUp(
      nameOf(this.numEmbeddings, this.embeddingDim),
      indices,
      this.weight,
      this.paddingIdx,
    )
  }

  override extraRepr(): string {
    const padding = this.paddingIdx === null ? '' : `, paddingIdx=${this.paddingIdx}`
    return `${this.numEmbeddings}, ${this.embeddingDim}${padding}`
  }
}
