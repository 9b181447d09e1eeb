/** Batches of sequences of tokens or of rows of numbers, each with its target. */
import {
  checkBoolean,
  checkInteger,
  checkIterable,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import { tensor } from '../factories.js'
import { checkIgnoreIndex } from '../ops/loss.js'
import type { Tensor } from '../tensor.js'
import { IndexedBatches } from './indexed_batches.js'
import { drawSeed, permutation } from './shuffle.js'

/** A sequence and what belongs to it. */
export interface Example {
  /** Tokens, or rows of as many numbers each. */
  input: ArrayLike<number> | readonly ArrayLike<number>[]
  /** A class, or whole numbers: a class for each step, or a sequence of tokens. */
  target?: number | ArrayLike<number>
}

/** What {@link ExampleBatches} takes. */
export interface ExampleBatchesOptions {
  /** B. Default 32. */
  batchSize?: number
  /**
   * So many batches are drawn together and sorted by length, so that little of a batch is padding; 1:
   * none is. Default 50.
   */
  sortWithin?: number
  /** Stands in the input where a sequence has ended. Default 0. */
  paddingIdx?: number
  /** Stands in targets where they have ended. Default -100, which crossEntropy ignores by itself. */
  ignoreIndex?: number
  /** Another order in every epoch. Default true. */
  shuffle?: boolean
  /** The order of epoch e depends on (seed, e) only. Default: drawn from the generator that manualSeed sets. */
  seed?: number
}

const OPTIONS = ['batchSize', 'sortWithin', 'paddingIdx', 'ignoreIndex', 'shuffle', 'seed']

/** A batch of examples, padded at the end. */
export interface ExampleBatch {
  /** Tokens int32 (B, T), or rows of numbers float32 (B, T, F). */
  input: Tensor
  /** Of each sequence. */
  lengths: number[]
  /** int32: (B) for a class each, (B, S) for sequences; missing where the examples have none. */
  target?: Tensor
  /** Of each target, where those are sequences. */
  targetLengths?: number[]
  /** The numbers of the examples. */
  examples: number[]
  /** How many examples count; 0: copies that only fill up a process's part. */
  count: number
}

/**
 * Batches of sequences of unequal lengths, about equally long ones together; in another order in
 * every epoch.
 */
export class ExampleBatches extends IndexedBatches<ExampleBatch> {
  readonly sortWithin: number
  readonly paddingIdx: number
  readonly ignoreIndex: number
  /** F; 0 for tokens. */
  readonly inputSize: number
  /** The largest token of the inputs; -1 for rows of numbers. */
  readonly largestToken: number
  readonly #examples: readonly Example[]

  /** @throws TypeError, RangeError for an empty sequence, rows of unlike width, numbers that are not finite, with the example's number */
  constructor(examples: readonly Example[], options: ExampleBatchesOptions = {}) {
    const fn = 'ExampleBatches'
    checkOptions(fn, options, OPTIONS)
    if (!Array.isArray(examples))
      throw typeError(fn, 'examples', 'an array of { input, target }', examples)
    const list = Array.from(examples)
    if (list.length === 0) throw rangeError(fn, 'examples', 'at least one example', 'none')
    const batchSize = checkInteger(fn, 'batchSize', options.batchSize ?? 32, 1)
    const shuffle = checkBoolean(fn, 'shuffle', options.shuffle ?? true)
    const seed = options.seed === undefined ? drawSeed() : checkInteger(fn, 'seed', options.seed, 0)
    super(list.length, batchSize, shuffle, seed)
    this.sortWithin = checkInteger(fn, 'sortWithin', options.sortWithin ?? 50, 1)
    this.paddingIdx = checkInteger(fn, 'paddingIdx', options.paddingIdx ?? 0, 0, 2 ** 31 - 1)
    this.ignoreIndex = checkIgnoreIndex(fn, options.ignoreIndex)
    this.inputSize = widthOf(fn, list)
    let largest = -1
    list.forEach((example, i) => {
      const input = checkInput(fn, `examples[${i}]`, example, this.inputSize)
      if (this.inputSize === 0)
        for (const token of input as number[]) if (token > largest) largest = token
      checkTarget(fn, `examples[${i}].target`, example.target, (list[0] as Example).target)
    })
    this.largestToken = largest
    this.#examples = list
  }

  protected override arrangement(): Record<string, number | string> {
    const { count, batchSize, sortWithin } = this
    return { examples: count, batchSize, sortWithin }
  }

  protected override orderOf(epoch: number): Int32Array {
    const order = super.orderOf(epoch)
    const { sortWithin, batchSize, shuffle, seed } = this
    if (sortWithin === 1) return order
    const length = (i: number): number => (this.#examples[i] as Example).input.length
    const pool = sortWithin * batchSize
    for (let at = 0; at < order.length; at += pool)
      order.subarray(at, at + pool).sort((a, b) => length(a) - length(b) || a - b)
    if (!shuffle) return order
    // Batches in a random order, too; the last one, which may be smaller, stays the last.
    const whole = Math.floor(order.length / batchSize)
    const mixed = permutation('batches', whole, seed + 1, epoch)
    const out = order.slice()
    mixed.forEach((from, to) => {
      out.set(order.subarray(from * batchSize, (from + 1) * batchSize), to * batchSize)
    })
    return out
  }

  protected override makeBatch(numbers: readonly number[], padding: boolean): ExampleBatch {
    const examples = numbers.map((i) => this.#examples[i] as Example)
    const lengths = examples.map(({ input }) => input.length)
    return {
      input: padInputs(
        examples.map(({ input }) => input),
        this.inputSize,
        this.paddingIdx,
      ),
      lengths,
      ...padTargets(examples, this.ignoreIndex),
      examples: [...numbers],
      count: padding ? 0 : examples.length,
    }
  }
}

/** Sequences side by side, padded at the end: int32 (B, T), or float32 (B, T, F). */
export function padInputs(
  inputs: readonly Example['input'][],
  inputSize: number,
  paddingIdx: number,
): Tensor {
  const longest = inputs.reduce((most, { length }) => Math.max(most, length), 0)
  if (inputSize === 0) {
    const tokens = new Int32Array(inputs.length * longest).fill(paddingIdx)
    inputs.forEach((input, b) => {
      tokens.set(input as ArrayLike<number>, b * longest)
    })
    return tensor(tokens, { shape: [inputs.length, longest] })
  }
  const values = new Float32Array(inputs.length * longest * inputSize)
  inputs.forEach((input, b) => {
    for (let t = 0; t < input.length; t++)
      values.set(input[t] as ArrayLike<number>, (b * longest + t) * inputSize)
  })
  return tensor(values, { shape: [inputs.length, longest, inputSize] })
}

function padTargets(
  examples: readonly Example[],
  ignoreIndex: number,
): Pick<ExampleBatch, 'target' | 'targetLengths'> {
  const targets = examples.map(({ target }) => target)
  if (targets[0] === undefined) return {}
  if (typeof targets[0] === 'number')
    return { target: tensor(Int32Array.from(targets as number[])) }
  const targetLengths = targets.map((target) => (target as ArrayLike<number>).length)
  const longest = Math.max(...targetLengths)
  const values = new Int32Array(targets.length * longest).fill(ignoreIndex)
  targets.forEach((target, b) => {
    values.set(target as ArrayLike<number>, b * longest)
  })
  return { target: tensor(values, { shape: [targets.length, longest] }), targetLengths }
}

const isArray = (value: unknown): value is ArrayLike<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView))

/** F of the first example's rows; 0 where it has tokens. */
function widthOf(fn: string, [first]: Example[]): number {
  const row: unknown = (first as Partial<Example> | null | undefined)?.input?.[0]
  if (!isArray(row)) return 0
  if (row.length === 0) throw rangeError(fn, 'examples[0].input[0]', 'at least one number', 'none')
  return row.length
}

/** @throws TypeError, RangeError */
function checkInput(
  fn: string,
  name: string,
  example: unknown,
  inputSize: number,
): ArrayLike<unknown> {
  if (typeof example !== 'object' || example === null)
    throw typeError(fn, name, 'an object { input, target }', example)
  const { input } = example as { input?: unknown }
  const expected = inputSize === 0 ? 'an array of tokens' : 'an array of rows of numbers'
  if (!isArray(input)) throw typeError(fn, `${name}.input`, expected, input)
  checkIterable(fn, `${name}.input`, input, expected)
  if (input.length === 0) throw rangeError(fn, `${name}.input`, 'at least one step', 'none')
  for (let t = 0; t < input.length; t++) {
    const step = input[t]
    if (inputSize === 0) checkInteger(fn, `${name}.input[${t}]`, step, 0, 2 ** 31 - 1)
    else checkRow(fn, `${name}.input[${t}]`, step, inputSize)
  }
  return input
}

/** @throws TypeError, RangeError unless it has `width` finite numbers */
export function checkRow(fn: string, name: string, row: unknown, width: number): void {
  if (!isArray(row)) throw typeError(fn, name, `a row of ${width} numbers`, row)
  checkIterable(fn, name, row, `a row of ${width} numbers`)
  if (row.length !== width) throw rangeError(fn, name, `${width} numbers`, String(row.length))
  for (let k = 0; k < width; k++) {
    const x = row[k]
    if (typeof x !== 'number') throw typeError(fn, `${name}[${k}]`, 'a number', x)
    if (!Number.isFinite(x)) throw rangeError(fn, `${name}[${k}]`, 'a finite number', String(x))
  }
}

function checkTarget(fn: string, name: string, target: unknown, first: unknown): void {
  if (first === undefined) {
    if (target !== undefined)
      throw typeError(fn, name, 'none, as the first example has none', target)
    return
  }
  if (typeof first === 'number') {
    checkInteger(fn, name, target, -(2 ** 31), 2 ** 31 - 1)
    return
  }
  const expected = 'a whole number, or an array of them'
  if (!isArray(target)) throw typeError(fn, name, expected, target)
  checkIterable(fn, name, target, expected)
  for (let i = 0; i < target.length; i++)
    checkInteger(fn, `${name}[${i}]`, target[i], -(2 ** 31), 2 ** 31 - 1)
}
