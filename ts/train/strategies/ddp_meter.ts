/** The averages of a fit in several processes. */
import { binding, Reduce } from '../../binding.js'
import { tensor } from '../../factories.js'
import { cat } from '../../ops/shape.js'
import type { Tensor } from '../../tensor.js'
import { checkLoss, isEmptyMean, type Metering, type Receive } from '../meter.js'
import type { StopRequest } from './strategy.js'

/** Steps that a process may be ahead of what it knows of the others. */
const AHEAD = 4
/** The stronger first. */
const REQUESTS: readonly StopRequest[] = ['aborted', 'shouldStop', 'maxTime']

interface Entry {
  step: number
  names: string[]
  sums: Tensor
}

/** A number for each request, 1 for the one that is made, for {@link requestIn}. */
export function flagsOf(requested: StopRequest | null): number[] {
  return REQUESTS.map((request) => Number(request === requested))
}

/** @param flags those of all processes, added up or the largest of them; more numbers may follow */
export function requestIn(flags: readonly number[]): StopRequest | null {
  return REQUESTS.find((_, i) => (flags[i] as number) > 0) ?? null
}

/**
 * Adds the numbers of every step up over all processes, with whether one of them wants to stop, by
 * one small collective in the queue. They are read some steps later, before the same step in all
 * processes.
 */
export class DdpMeter implements Metering {
  count = 0
  readonly #receive: Receive
  readonly #requested: () => StopRequest | null
  readonly #hear: (flags: readonly number[]) => void
  readonly #entries: Entry[] = []

  /** @param hear is given the flags of all processes, added up, as {@link requestIn} takes them */
  constructor(
    receive: Receive,
    requested: () => StopRequest | null,
    hear: (flags: readonly number[]) => void,
  ) {
    this.#receive = receive
    this.#requested = requested
    this.#hear = hear
  }

  /** Its examples are counted when those of the other processes are known. */
  queued(): void {}

  add(step: number, count: number, values: Record<string, Tensor>): void {
    const device = Object.values(values)[0]?.device ?? 'cpu'
    const head = tensor([...flagsOf(this.#requested()), count], { device })
    const weighted = Object.values(values).map((value) => {
      // Also NaN has no weight then.
      const flat = count === 0 ? tensor([0], { device }) : value.detach().reshape([1])
      const result = flat.mul(count)
      flat[Symbol.dispose]()
      value[Symbol.dispose]()
      return result
    })
    const sums = cat([head, ...weighted], 0)
    for (const one of [head, ...weighted]) one[Symbol.dispose]()
    binding.allReduce(sums.buffer, Reduce.sum, false)
    this.#entries.push({ step, names: Object.keys(values), sums })
  }

  read(): void {}

  check(): void {}

  pace(): Promise<void> {
    return this.#settle(AHEAD)
  }

  flush(): Promise<void> {
    return this.#settle(0)
  }

  /** Until no more than `left` steps are still to be read. */
  async #settle(left: number): Promise<void> {
    while (this.#entries.length > left) {
      const { step, names, sums } = this.#entries.shift() as Entry
      const numbers = await sums.data()
      sums[Symbol.dispose]()
      this.#hear([...numbers])
      const first = REQUESTS.length + 1
      const count = numbers[first - 1] as number
      // Where there is nothing to average, in one process or in all, the step has no numbers.
      const known = count === 0 ? [] : names.filter((_, i) => !isEmptyMean(numbers, first + i))
      const values = Object.fromEntries(
        known.map((name) => [name, (numbers[first + names.indexOf(name)] as number) / count]),
      )
      checkLoss(values.loss, step)
      this.count += count
      this.#receive(step, values, count)
    }
  }
}
