/** Metrics that add up over batches and processes; as torchmetrics. */
import { allGatherNumbers } from '../distributed/exchange.js'
import { isInitialized } from '../distributed/group.js'
import {
  checkInteger,
  checkOneOf,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { noGrad } from '../grad_mode.js'
import { checkIgnoreIndex, crossEntropy } from '../ops/loss.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { type Numbers, numbersOf } from './checks.js'
import { type Average, averageF1, f1OfClass } from './classification.js'

/**
 * A metric over many batches: `update` with each, `compute` at the end, `reset` before the next pass;
 * as `torchmetrics.Metric`. With several processes (`distributed.init`), compute adds up what all of
 * them have seen: all have to call it.
 */
export abstract class Metric {
  /** What is added up. */
  protected sums: Float64Array
  /** Updates whose tensors are still being read. */
  protected pending: Promise<void> = Promise.resolve()

  /** @param size how many numbers the metric adds up */
  protected constructor(size: number) {
    this.sums = new Float64Array(size)
  }

  /** Forgets everything. */
  reset(): void {
    this.pending = Promise.resolve()
    this.sums = new Float64Array(this.sums.length)
  }

  /** The sums over all updates and all processes. @throws (rejects) what an update's tensors say */
  protected async total(fn: string): Promise<number[]> {
    await this.pending
    const own = [...this.sums]
    if (!isInitialized()) return own
    const all = await allGatherNumbers(fn, own)
    return own.map((_, i) => all.reduce((sum, one) => sum + (one[i] as number), 0))
  }

  /** Adds when the values of the tensors are there, in the order of the calls. */
  protected later(values: readonly Promise<Numbers>[], add: (...values: Numbers[]) => void): void {
    const { sums } = this
    const read = Promise.all(values)
    const before = this.pending
    this.pending = (async (): Promise<void> => {
      await before
      const arrays = await read
      // Not into what reset() has begun anew.
      if (this.sums === sums) add(...arrays)
    })()
    // Told by compute().
    this.pending.catch(() => {})
    read.catch(() => {})
  }
}

/** Classes of a batch, as numbers: an int32 tensor or array; also logits (…, C), of which the largest counts. */
type Classes = Tensor | Numbers

function classesOf(fn: string, name: string, value: unknown, classes: number): Promise<Numbers> {
  if (!(value instanceof Tensor)) {
    const list = numbersOf(fn, name, value)
    for (const [i, c] of list.entries()) checkInteger(fn, `${name}[${i}]`, c, 0, classes - 1)
    return Promise.resolve(list)
  }
  if (value.dtype === 'int32') return value.data()
  const { shape } = value
  if (name !== 'predicted' || shape.at(-1) !== classes)
    throw rangeError(
      fn,
      name,
      name === 'predicted'
        ? `int32 classes, or logits of ${classes} classes in the last dimension`
        : 'int32 classes',
      `${value.dtype} of shape ${formatShape(shape)}`,
    )
  return noGrad(() => {
    using rows = value.detach()
    using best = rows.argmax(-1)
    return best.data()
  })
}

const countOf = (fn: string, value: unknown, classes: number): number => {
  if (value instanceof Tensor)
    return value.dtype === 'int32' ? value.numel : value.numel / Math.max(1, classes)
  if (Array.isArray(value) || ArrayBuffer.isView(value))
    return (value as { length: number } & object).length
  throw typeError(fn, 'predicted', 'a tensor or an array of classes', value)
}

/** Counts of pairs of classes. */
abstract class CountingMetric extends Metric {
  readonly numClasses: number
  readonly ignoreIndex: number | null

  protected constructor(fn: string, options: ClassMetricOptions) {
    const classes = checkInteger(fn, 'numClasses', options.numClasses, 2, 4096)
    super(classes * classes)
    this.numClasses = classes
    this.ignoreIndex =
      options.ignoreIndex === undefined ? null : checkIgnoreIndex(fn, options.ignoreIndex)
  }

  /**
   * Counts a batch.
   * @param predicted classes: an int32 tensor, an array, or float32 logits (…, C)
   * @param target classes of the same number of elements
   * @throws TypeError, RangeError; a class of a tensor that is out of range is told by compute()
   */
  update(predicted: Classes, target: Classes): void {
    const fn = `${this.constructor.name}.update`
    const { numClasses: n, ignoreIndex } = this
    const [a, b] = [countOf(fn, predicted, n), countOf(fn, target, 1)]
    if (a !== b) throw rangeError(fn, 'target', `${a} classes, as predicted has`, String(b))
    const ignored = (c: number | undefined): boolean => c === ignoreIndex
    const wanted =
      target instanceof Tensor || ignoreIndex === null
        ? classesOf(fn, 'target', target, n)
        : Promise.resolve(numbersOf(fn, 'target', target))
    this.later([classesOf(fn, 'predicted', predicted, n), wanted], (p, t) => {
      for (let i = 0; i < t.length; i++) {
        const row = t[i] as number
        if (ignored(row)) continue
        for (const c of [row, p?.[i] as number])
          if (!(c >= 0 && c < n)) throw rangeError(fn, 'classes', `below ${n}`, String(c))
        const at = row * n + (p?.[i] as number)
        this.sums[at] = (this.sums[at] as number) + 1
      }
    })
  }

  /** Row i, column j: how often class i was predicted as class j. */
  protected async counts(): Promise<number[][]> {
    const fn = `${this.constructor.name}.compute`
    const all = await this.total(fn)
    const n = this.numClasses
    if (all.every((count) => count === 0))
      throw new RangeError(`[${fn}] update: expected at least one batch, got none`)
    return Array.from({ length: n }, (_, i) => all.slice(i * n, (i + 1) * n))
  }
}

/** What the metrics of classes take. */
export interface ClassMetricOptions {
  /** C, at least 2. */
  numClasses: number
  /** Targets of this class count nothing. Default: none. */
  ignoreIndex?: number
}

/** What {@link F1Score} takes. */
export interface F1ScoreOptions extends ClassMetricOptions {
  /** The class whose F1 is wanted. Default: averaged over all. */
  positive?: number
  /** Default 'macro'. */
  average?: Average
}

/** The share of right classes; as torchmetrics' `MulticlassAccuracy` with average 'micro'. */
export class Accuracy extends CountingMetric {
  constructor(options: ClassMetricOptions) {
    checkOptions('Accuracy', options, ['numClasses', 'ignoreIndex'])
    super('Accuracy', options)
  }

  /** @throws (rejects) RangeError without an update */
  async compute(): Promise<number> {
    const counts = await this.counts()
    const right = counts.reduce((sum, row, i) => sum + (row[i] as number), 0)
    return right / counts.flat().reduce((a, b) => a + b, 0)
  }
}

/** F1, of one class or averaged; as torchmetrics' `BinaryF1Score` and `MulticlassF1Score`. */
export class F1Score extends CountingMetric {
  readonly positive: number | null
  readonly average: Average

  constructor(options: F1ScoreOptions) {
    const fn = 'F1Score'
    checkOptions(fn, options, ['numClasses', 'ignoreIndex', 'positive', 'average'])
    super(fn, options)
    this.positive =
      options.positive === undefined
        ? null
        : checkInteger(fn, 'positive', options.positive, 0, this.numClasses - 1)
    this.average = checkOneOf(fn, 'average', options.average ?? 'macro', [
      'macro',
      'micro',
      'weighted',
    ])
  }

  /** @throws (rejects) RangeError without an update */
  async compute(): Promise<number> {
    const counts = await this.counts()
    return this.positive === null
      ? averageF1(counts, this.average)
      : f1OfClass(counts, this.positive)
  }
}

/** Counts of all pairs of classes; as torchmetrics' `MulticlassConfusionMatrix`. */
export class ConfusionMatrix extends CountingMetric {
  constructor(options: ClassMetricOptions) {
    checkOptions('ConfusionMatrix', options, ['numClasses', 'ignoreIndex'])
    super('ConfusionMatrix', options)
  }

  /** Row i, column j: how often class i was predicted as class j. */
  async compute(): Promise<number[][]> {
    return this.counts()
  }
}

/** The mean of |predicted − target|; as torchmetrics' of that name. */
export class MeanAbsoluteError extends Metric {
  constructor() {
    super(2)
  }

  /**
   * @param predicted float32 tensor or array of numbers
   * @param target of the same shape
   */
  /** Adds the errors of predicted values, in the shape and order of the true ones. */
  update(predicted: Tensor | Numbers, target: Tensor | Numbers): void {
    const fn = 'MeanAbsoluteError.update'
    const [p, t] = [valuesOf(fn, 'predicted', predicted), valuesOf(fn, 'target', target)]
    const shape = (x: Tensor | Numbers): readonly number[] =>
      x instanceof Tensor ? x.shape : [x.length]
    if (!sameShape(shape(predicted), shape(target)))
      throw rangeError(
        fn,
        'target',
        `shape ${formatShape(shape(predicted))}, as predicted has`,
        formatShape(shape(target)),
      )
    this.later([p, t], (a, b) => {
      for (let i = 0; i < a.length; i++)
        this.sums[0] = (this.sums[0] as number) + Math.abs((a[i] as number) - (b[i] as number))
      this.sums[1] = (this.sums[1] as number) + a.length
    })
  }

  /** @throws (rejects) RangeError without an update */
  async compute(): Promise<number> {
    return meanOf(await this.total('MeanAbsoluteError.compute'), 'MeanAbsoluteError')
  }
}

function valuesOf(fn: string, name: string, value: unknown): Promise<Numbers> {
  return value instanceof Tensor ? value.data() : Promise.resolve(numbersOf(fn, name, value))
}

function meanOf([sum, count]: number[], name: string): number {
  if (count === 0)
    throw new RangeError(`[${name}.compute] update: expected at least one value, got none`)
  return (sum as number) / (count as number)
}

/** What {@link Perplexity} takes. */
export interface PerplexityOptions {
  /** Targets that count nothing. Default -100. */
  ignoreIndex?: number
}

/** e to the mean cross entropy of tokens; as torchmetrics' `Perplexity`. */
export class Perplexity extends Metric {
  readonly ignoreIndex: number

  constructor(options: PerplexityOptions = {}) {
    checkOptions('Perplexity', options, ['ignoreIndex'])
    super(2)
    this.ignoreIndex = checkIgnoreIndex('Perplexity', options.ignoreIndex)
  }

  /**
   * @param logits float32 (…, V)
   * @param target int32 tokens (…)
   */
  /** Adds a batch: logits `[…, C]` and classes `[…]` (int32). */
  update(logits: Tensor, target: Tensor): void {
    const fn = 'Perplexity.update'
    if (!(logits instanceof Tensor)) throw typeError(fn, 'logits', 'a tensor', logits)
    if (!(target instanceof Tensor)) throw typeError(fn, 'target', 'a tensor', target)
    if (!sameShape(logits.shape.slice(0, -1), target.shape) || logits.shape.length === 0)
      throw rangeError(
        fn,
        'target',
        `the shape of logits without the last dimension, ${formatShape(logits.shape.slice(0, -1))}`,
        formatShape(target.shape),
      )
    const { ignoreIndex } = this
    const loss = noGrad(() => {
      using rows = logits.detach().reshape([target.numel, logits.shape.at(-1) as number])
      using wanted = target.reshape([target.numel])
      using sum = crossEntropy(rows, wanted, { ignoreIndex, reduction: 'sum' })
      return sum.data()
    })
    this.later([loss, target.data()], (sum, tokens) => {
      let count = 0
      for (let i = 0; i < tokens.length; i++) if (tokens[i] !== ignoreIndex) count++
      this.sums[0] = (this.sums[0] as number) + (sum[0] as number)
      this.sums[1] = (this.sums[1] as number) + count
    })
  }

  /** @throws (rejects) RangeError without an update */
  async compute(): Promise<number> {
    return Math.exp(meanOf(await this.total('Perplexity.compute'), 'Perplexity'))
  }
}
