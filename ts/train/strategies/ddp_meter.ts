/** The averages of a fit in several processes. */
import { binding, Reduce } from '../../binding.js'
import { tensor } from '../../factories.js'
import { cat } from '../../ops/shape.js'
import type { Tensor } from '../../tensor.js'
import { checkLoss, type Metering } from '../meter.js'
import { type Asked, flagsOf, type Team } from './ddp.js'

/** Steps that a process may be ahead of what it knows of the others. */
const AHEAD = 4
const FLAGS = flagsOf(null).length

interface Entry {
  step: number
  names: string[]
  sums: Tensor
}

/**
 * Adds the numbers of every step up over all processes, with whether one of them wants to stop, by
 * one small collective in the queue; they are read, and heard, some steps later, everywhere in front
 * of the same step.
 */
export class TeamMeter implements Metering {
  readonly #team: Team
  readonly #receive: (step: number, values: Record<string, number>, count: number) => void
  readonly #asked: () => Asked | null
  readonly #entries: Entry[] = []

  constructor(
    team: Team,
    receive: (step: number, values: Record<string, number>, count: number) => void,
    asked: () => Asked | null,
  ) {
    this.#team = team
    this.#receive = receive
    this.#asked = asked
  }

  add(step: number, count: number, values: Record<string, Tensor>): void {
    const device = Object.values(values)[0]?.device ?? 'cpu'
    const head = tensor([...flagsOf(this.#asked()), count], { device })
    const weighted = Object.values(values).map((value) => {
      const flat = value.detach().reshape([1])
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

  /** Until no more than so many steps are left. */
  async #settle(left: number): Promise<void> {
    while (this.#entries.length > left) {
      const { step, names, sums } = this.#entries.shift() as Entry
      const numbers = [...(await sums.data())]
      sums[Symbol.dispose]()
      this.#team.heard(numbers)
      const count = numbers[FLAGS] as number
      const values = Object.fromEntries(
        names.map((name, i) => [name, (numbers[FLAGS + 1 + i] as number) / count]),
      )
      checkLoss(values.loss, step)
      this.#receive(step, values, count)
    }
  }
}
