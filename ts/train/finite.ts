/** Losses and gradients that are not finite: they end training, or their step is left out. */
import { type Buffer, binding } from '../binding.js'
import type { Module } from '../nn/module.js'
import { numbersOf } from '../ops/rows.js'
import { Tensor } from '../tensor.js'
import { tensorsOf } from './carried.js'
import type { Carried } from './types.js'

/** Of the failure that binding.checkFinite leaves in the queue. */
const FAILURE = /^\[checkFinite\] (\d+), (\d+): expected finite numbers, got (\w+)$/

/** Looks at the loss and the gradients of a model's parameters, between backward and the update. */
export class FiniteCheck {
  readonly #names: string[]
  readonly #parameters: Tensor[]

  constructor(model: Module) {
    const named = model.namedParameters()
    this.#names = named.map(([name]) => name)
    this.#parameters = named.map(([, parameter]) => parameter)
  }

  /**
   * Queues a check. When it fails, the gradients count as not computed: the optimiser leaves the
   * parameters as they are, and the next promise rejects with what {@link explain} makes readable.
   */
  queue(step: number, loss: Tensor): void {
    const grads: (Buffer | null)[] = []
    const elsewhere = new Set<string>()
    for (const { ownGrad } of this.#parameters) {
      const here = ownGrad !== null && ownGrad.device === loss.device
      grads.push(here ? numbersOf(ownGrad).buffer : null)
      if (ownGrad !== null && !here) elsewhere.add(ownGrad.device)
    }
    binding.checkFinite(step, loss.buffer, grads)
    for (const device of elsewhere) {
      const there = this.#parameters.map(({ ownGrad }) =>
        ownGrad?.device === device ? numbersOf(ownGrad).buffer : null,
      )
      binding.checkFinite(step, null, there)
    }
  }

  /** The error to tell a user: with the names of step and parameter if it is one of queue()'s. */
  explain(error: unknown): unknown {
    const match = error instanceof Error ? FAILURE.exec(error.message) : null
    if (match === null) return error
    const [, step, place, got] = match
    const nothing =
      place === '0' && got === 'NaN'
        ? '; where a batch has nothing to learn from, return null from trainingStep'
        : ''
    const what =
      place === '0'
        ? 'loss: expected a finite number'
        : `gradient of ${this.#names[Number(place) - 1]}: expected finite numbers`
    return new RangeError(
      `[Trainer] ${what}, got ${got} at step ${step}; try a lower learning rate or gradient clipping, or leave such steps out with nonFinite: 'skip'${nothing}`,
      { cause: error },
    )
  }

  /**
   * Waits for the gradients and says what is not finite, or null: 'loss', or the name of a
   * parameter.
   * @throws (rejects) with the first failure among the operations queued so far
   */
  async find(loss: Tensor): Promise<string | null> {
    if (!(await finite([loss]))) return 'loss'
    const grads = this.#parameters.map(({ ownGrad }) => ownGrad)
    if (await finite(grads)) return null
    for (const [i, grad] of grads.entries()) {
      if (!(await finite([grad]))) return this.#names[i] as string
    }
    return null
  }
}

/** Whether what goes on to the next step is finite. */
export function finiteCarried(carried: Carried): Promise<boolean> {
  return finite(tensorsOf(carried).filter(({ dtype }) => dtype === 'float32'))
}

async function finite(tensors: readonly (Tensor | null)[]): Promise<boolean> {
  const byDevice = new Map<string, Buffer[]>()
  for (const tensor of tensors) {
    if (tensor === null) continue
    const buffers = byDevice.get(tensor.device)
    const { buffer } = numbersOf(tensor)
    if (buffers === undefined) byDevice.set(tensor.device, [buffer])
    else buffers.push(buffer)
  }
  for (const [device, buffers] of byDevice) {
    const norm = Tensor.wrap(binding.gradNorm(buffers, Infinity), [], device)
    const value = await norm.item()
    norm[Symbol.dispose]()
    if (!Number.isFinite(value)) return false
  }
  return true
}
