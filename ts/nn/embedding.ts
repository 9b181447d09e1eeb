import { record, willRecord } from '../autograd.js'
import { type Buffer, binding, RandomKind } from '../binding.js'
import { type Device, deviceNumber, deviceOption } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOptions,
  formatShape,
  rangeError,
} from '../errors.js'
import { noGrad } from '../grad_mode.js'
import { checkFloat } from '../ops/common.js'
import { gatherRows } from '../ops/gather.js'
import { fillInto, randomInto } from '../ops/in_place.js'
import { subtractRows } from '../ops/rows.js'
import { nextRandom } from '../random.js'
import { checkShape, numelOf, Tensor } from '../tensor.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

/** What {@link Embedding} takes. */
export interface EmbeddingOptions {
  /** A row that starts as zeros and gets no gradient; negative counts from the end. */
  paddingIdx?: number | null
  /** Rows that are looked up and have a larger norm are scaled down to it first, in the table itself. */
  maxNorm?: number | null
  /** Which norm that is. Default 2. */
  normType?: number
  /** Divide each row's gradient by how often it is among the indices. Default false. */
  scaleGradByFreq?: boolean
  /**
   * The table's gradient is a sparse tensor, of the rows that were looked up ({@link Tensor.isSparse}):
   * neither backward nor clipping nor the step of `optim.SGD`, `Adagrad` and `SparseAdam` goes through
   * the table. With `createGraph` it is an ordinary one. Default false.
   */
  sparse?: boolean
}

export interface EmbeddingLayerOptions extends EmbeddingOptions {
  /** Where the table is made. Default: the default device. */
  device?: string | Device
}

/** Rows of a table. @throws TypeError, RangeError */
export function embedding(indices: Tensor, weight: Tensor, options: EmbeddingOptions = {}): Tensor {
  checkOptions('embedding', options, OPTIONS)
  return lookUp('embedding', indices, weight, checkLookUp('embedding', options))
}

const OPTIONS = ['paddingIdx', 'maxNorm', 'normType', 'scaleGradByFreq', 'sparse']

/** The options of a look-up beside the row of padding, checked. */
function checkLookUp(fn: string, options: EmbeddingOptions): LookUp {
  const { maxNorm = null, normType, scaleGradByFreq, paddingIdx } = options
  if (maxNorm !== null) checkNumber(fn, 'maxNorm', maxNorm, 0)
  const norm = checkNumber(fn, 'normType', normType ?? 2, 0)
  if (norm === 0) throw rangeError(fn, 'normType', 'a number above 0', '0')
  const scale = checkBoolean(fn, 'scaleGradByFreq', scaleGradByFreq ?? false)
  const sparse = checkBoolean(fn, 'sparse', options.sparse ?? false)
  if (sparse && scale)
    throw rangeError(fn, 'scaleGradByFreq', 'false with sparse: true, as in PyTorch', 'true')
  return { paddingIdx: paddingIdx ?? null, maxNorm, normType: norm, scaleGradByFreq: scale, sparse }
}

type LookUp = Required<EmbeddingOptions>

/** @param owner what a wrong index is said to be of */
function lookUp(owner: string, indices: Tensor, weight: Tensor, given: LookUp): Tensor {
  checkFloat('embedding', 'weight', weight)
  if (weight.shape.length !== 2)
    throw rangeError('embedding', 'weight', 'shape (V, E)', formatShape(weight.shape))
  const paddingIdx = checkPadding('embedding', given.paddingIdx, weight.shape[0] as number)
  const { sparse } = given
  const options = paddingIdx === null ? { owner, sparse } : { owner, sparse, paddingIdx }
  if (given.maxNorm !== null)
    noGrad(() => renormalize(indices, weight, given.maxNorm as number, given.normType, owner))
  const rows = gatherRows('embedding', weight, indices, options)
  return given.scaleGradByFreq ? byFrequency(rows, indices, weight.shape[0] as number) : rows
}

/** How often each row of a table of `rows` is among the indices, `[rows, 1]`. */
function counts(indices: Tensor, rows: number): Tensor {
  const { numel, device } = indices
  const ones = binding.fill(numel, 1, deviceNumber(device))
  const sums = binding.scatterAddRows(ones, indices.buffer, 1, rows, 1, -1)
  binding.release(ones)
  return Tensor.wrap(sums, [rows, 1], device)
}

/** Scales the rows that are looked up, in place. */
function renormalize(
  indices: Tensor,
  weight: Tensor,
  maxNorm: number,
  normType: number,
  owner: string,
): void {
  const [, width] = weight.shape as readonly [number, number]
  // Looked up first, so that a wrong index is refused in place of being passed over.
  gatherRows('embedding', weight, indices, { owner })[Symbol.dispose]()
  const n = indices.numel
  if (n === 0) return
  const [sorted, order] = binding.sort(indices.buffer, 1, n, n, false, true)
  using nothing = Tensor.wrap(
    binding.fill(n, 0, deviceNumber(weight.device)),
    [n, 1],
    weight.device,
  )
  const [once, sums] = binding.sumRuns(sorted as Buffer, order, nothing.buffer, 1)
  for (const buffer of [sorted as Buffer, order, sums]) binding.release(buffer)
  using index = Tensor.wrap(once, [n], weight.device, 'int32')
  using found = gatherRows('embedding', weight, index, { fill: 0 })
  using flat = found.reshape([-1, width])
  const size = flat.abs()
  const norm =
    normType === Infinity
      ? size.max(1, { keepdim: true })[0]
      : size
          .pow(normType)
          .sum(1, { keepdim: true })
          .pow(1 / normType)
  // maxNorm / (norm + 1e-7) where that is below 1 and the norm above: what is to be taken away.
  const factor = norm.add(1e-7).pow(-1).mul(maxNorm).clamp(null, 1)
  using change = flat.mul(factor.mul(-1).add(1))
  subtractRows('embedding', weight, index.buffer, change.buffer)
}

/** The same rows; their gradients are divided by how often each is there. */
function byFrequency(rows: Tensor, indices: Tensor, size: number): Tensor {
  if (!willRecord([rows])) return rows
  using all = counts(indices, size)
  const own = gatherRows('embedding', all, indices).reshape([...indices.shape, 1])
  const out = rows.viewAs(rows.shape)
  const backward = ([g]: readonly (Tensor | null)[]) => [(g as Tensor).div(own)]
  record('embedding', [rows], [out], backward, [own], 'values', backward)
  return out
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
  readonly maxNorm: number | null
  readonly normType: number
  readonly scaleGradByFreq: boolean
  readonly sparse: boolean
  weight: Tensor

  /** @throws TypeError, RangeError */
  constructor(numEmbeddings: number, embeddingDim: number, options: EmbeddingLayerOptions = {}) {
    super()
    this.numEmbeddings = checkInteger('Embedding', 'numEmbeddings', numEmbeddings, 1)
    this.embeddingDim = checkInteger('Embedding', 'embeddingDim', embeddingDim, 1)
    checkOptions('Embedding', options, [...OPTIONS, 'device'])
    const { maxNorm, normType, scaleGradByFreq, sparse } = checkLookUp('Embedding', options)
    this.maxNorm = maxNorm
    this.normType = normType
    this.scaleGradByFreq = scaleGradByFreq
    this.sparse = sparse
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
    checkOptions('Embedding.fromPretrained', options, [...OPTIONS, 'freeze'])
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
    return lookUp(nameOf(this.numEmbeddings, this.embeddingDim), indices, this.weight, this)
  }

  override extraRepr(): string {
    const padding = this.paddingIdx === null ? '' : `, paddingIdx=${this.paddingIdx}`
    const sparse = this.sparse ? ', sparse=true' : ''
    return `${this.numEmbeddings}, ${this.embeddingDim}${padding}${sparse}`
  }
}
