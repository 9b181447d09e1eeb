/** How many processes train, and what they have to agree on. */
import type { Module } from '../../nn/module.js'
import type { Metering, Receive, Totals } from '../meter.js'
import type { Carried, LoopParts, TrainerSettings } from '../types.js'

/** Why a process may want to stop. */
export type StopRequest = 'aborted' | 'shouldStop' | 'maxTime'

/**
 * What differs between a fit in one process and a fit in several; as Lightning's `Strategy`. The
 * loop is the same for all. Methods that return a promise are collectives: all processes call them
 * in the same order.
 */
export interface Strategy {
  /** Whether this is the process that writes checkpoints, logs and shows progress: rank 0. */
  readonly isGlobalZero: boolean
  /** Whether a process may end a validation pass by itself; else the others would wait for it. */
  readonly stopsAlone: boolean

  /**
   * This process's part of the data; orders are those of rank 0.
   * @throws (rejects) RangeError when the processes do not fit together
   */
  divide<B>(parts: LoopParts<B>, settings: TrainerSettings): Promise<LoopParts<B>>
  /** @param requested whether this process wants to stop */
  createMeter(receive: Receive, requested: () => StopRequest | null): Metering
  /** Before the first step: gives all processes the same parameters. */
  setup(model: Module): Promise<void>
  /** From now on backward averages the gradients of the parameters that the model trains now. */
  averageGradients(model: Module): void
  /** How many examples the next loss is the mean of: its weight in that average. */
  setLossWeight(count: number): void

  /** Settles when all processes know whether one of them wants to stop. */
  agree(requested: StopRequest | null): Promise<void>
  /** Why training is to end, as far as all processes know. */
  stopReason(requested: StopRequest | null): StopRequest | null
  /** Whether it is so in any process. */
  any(value: boolean): Promise<boolean>
  /** @throws (rejects) RangeError unless the data of all processes end here, or those of none */
  checkSameEnd(done: boolean, batch: number): Promise<void>
  /** Sums over all processes. */
  total(totals: Totals): Promise<Totals>

  /** What all processes carry, as one process would have it. */
  gather(carried: Carried): Promise<Carried>
  /** This process's part of what {@link gather} gave. */
  partOf(carried: Carried): Carried

  /** Training has failed: the other processes are told, and work that is queued comes to an end. */
  onException(error: unknown): Promise<void>
  /** After training, however it ended. */
  teardown(): void
}
