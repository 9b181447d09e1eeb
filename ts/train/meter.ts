/** Averages of numbers that are still being computed, without waiting for them. */
import type { Tensor } from '../tensor.js'

/** Sums weighted by count; plain JSON. */
export interface Totals {
  /** Of all steps. */
  count: number
  sums: Record<string, number>
  /** Of the steps that had each number; those of older checkpoints are missing, and are all steps. */
  counts: Record<string, number>
}

interface Entry {
  step: number
  count: number
  values: Record<string, Tensor>
}

export function emptyTotals(): Totals {
  return { count: 0, sums: {}, counts: {} }
}

/**
 * Adds the numbers of a step. One of no weight adds nothing, whatever its numbers are, and so does one
 * whose loss is the mean over nothing, which {@link readAll} has left out.
 */
export function addTo(
  totals: Totals,
  values: Readonly<Record<string, number>>,
  count: number,
): void {
  if (count === 0 || values.loss === undefined) return
  for (const [name, value] of Object.entries(values)) {
    totals.counts[name] = countOf(totals, name) + count
    totals.sums[name] = (totals.sums[name] ?? 0) + value * count
  }
  totals.count += count
}

function countOf({ count, sums, counts }: Totals, name: string): number {
  return counts[name] ?? (Object.hasOwn(sums, name) ? count : 0)
}

/** The weighted means. */
export function meansOf(totals: Totals): Record<string, number> {
  return Object.fromEntries(
    Object.entries(totals.sums).map(([name, sum]) => [name, sum / countOf(totals, name)]),
  )
}

/** The bits of the mean over nothing (native/core/empty_mean.h), without the sign. */
const EMPTY_MEAN_BITS = 0x7fc0e317

/** Whether a number is the loss of a batch whose targets are all ignored, which is NaN. */
export function isEmptyMean(values: ArrayLike<number>, at = 0): boolean {
  if (!(values instanceof Float32Array) || !Number.isNaN(values[at])) return false
  const [bits = 0] = new Uint32Array(values.buffer, values.byteOffset + 4 * at, 1)
  return (bits & 0x7fffffff) === EMPTY_MEAN_BITS
}

/** Reads one-element tensors and frees them. Means over nothing are left out. */
export async function readAll(tensors: Record<string, Tensor>): Promise<Record<string, number>> {
  const names = Object.keys(tensors)
  const values = Object.values(tensors).map((tensor) => {
    const value = tensor.data()
    tensor[Symbol.dispose]()
    return value
  })
  const numbers = await Promise.all(values)
  const read = names.map((name, i) => [name, numbers[i] as ArrayLike<number>] as const)
  return Object.fromEntries(
    read
      .filter(([, value]) => !isEmptyMean(value))
      .map(([name, value]) => [name, value[0] as number]),
  )
}

/** @throws RangeError unless the loss of a step is finite */
export function checkLoss(loss: number | undefined, step: number): void {
  if (loss === undefined || Number.isFinite(loss)) return
  throw new RangeError(
    `[Trainer] loss: expected a finite number, got ${loss} at step ${step}; try a lower learning rate or gradient clipping`,
  )
}

/** Takes the numbers of a step. @param count how many examples the values are the means of */
export type Receive = (step: number, values: Record<string, number>, count: number) => void

/** What a loop needs of a meter; see {@link Meter}. */
export interface Metering {
  /** Examples of the steps so far, as far as they are known. */
  readonly count: number
  /** A step over `count` examples has been queued; its update may be left out. */
  queued(count: number): void
  add(step: number, count: number, values: Record<string, Tensor>): void
  read(): void
  check(): void
  /** Before every step; a promise when the step has to wait. */
  pace(): Promise<void> | null
  flush(): Promise<void>
}

/**
 * Holds the one-element tensors of recent steps and reads many at once. A failure, of the device or
 * of the loss, is kept for the training loop to find.
 */
export class Meter implements Metering {
  count = 0
  /** The first thing that went wrong. */
  failure: unknown = null
  #entries: Entry[] = []
  #reading: Promise<void> = Promise.resolve()
  readonly #receive: Receive

  /** @param receive is called for each step in order, when its numbers have arrived */
  constructor(receive: Receive) {
    this.#receive = receive
  }

  queued(count: number): void {
    this.count += count
  }

  /** Takes the tensors over. */
  add(step: number, count: number, values: Record<string, Tensor>): void {
    this.#entries.push({ step, count, values })
  }

  /** Begins to read what has been added; returns at once. */
  read(): void {
    const entries = this.#entries
    if (entries.length === 0) return
    this.#entries = []
    const done = Promise.all(entries.map(({ values }) => readAll(values))).then((numbers) => {
      entries.forEach(({ step, count }, i) => {
        const values = numbers[i] as Record<string, number>
        checkLoss(values.loss, step)
        this.#receive(step, values, count)
      })
    })
    this.#reading = Promise.all([this.#reading, done]).then(
      () => {},
      (error) => {
        this.failure ??= error
      },
    )
  }

  pace(): null {
    return null
  }

  /** Settles when everything added so far has been received. @throws (rejects) with the failure */
  async flush(): Promise<void> {
    this.read()
    await this.#reading
    this.check()
  }

  /** @throws the failure, if there is one */
  check(): void {
    if (this.failure !== null) throw this.failure
  }
}
