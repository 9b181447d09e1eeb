/** Optimiser steps, each from the gradients of one batch or of several. */
import { full } from '../factories.js'
import type { Module } from '../nn/module.js'
import { numbersOf, sharedRows } from '../ops/rows.js'
import { Tensor } from '../tensor.js'
import { batchOn } from './batch.js'
import { FiniteCheck } from './finite.js'
import type { Strategy } from './strategies/strategy.js'
import type { LoopParts, TrainerSettings } from './types.js'

/** What has been added up for the next optimiser step; in a checkpoint between two batches. */
export interface OpenStep {
  /** Batches so far. */
  batches: number
  /** Whether one of them had something to learn from. */
  learned: boolean
  /** Whether one of them had a loss or a gradient that is not finite. */
  spoiled: boolean
  gradients: ReadonlyMap<string, Tensor>
  /** Of sparse gradients, which rows those in `gradients` are. Absent: none is sparse. */
  rows?: ReadonlyMap<string, Tensor>
}

/** The gradients of a fit, from its batches to its optimiser steps. */
export class Updates {
  /** Steps that were left out because a loss or a gradient was not finite. */
  skipped = 0
  readonly #parts: LoopParts<never>
  readonly #settings: Readonly<TrainerSettings>
  readonly #strategy: Strategy
  /** Of the parameters that the model has in this epoch. */
  #finite: FiniteCheck | null = null
  #batches = 0
  #learned = false
  #spoiled = false

  constructor(parts: LoopParts<never>, settings: Readonly<TrainerSettings>, strategy: Strategy) {
    this.#parts = parts
    this.#settings = settings
    this.#strategy = strategy
  }

  beginEpoch(): void {
    this.#finite = new FiniteCheck(this.#parts.model)
  }

  /** Whether there are batches whose step is still to be made. */
  get open(): boolean {
    return this.#batches > 0
  }

  /** Before a batch. */
  begin(): void {
    if (!this.open) this.#parts.optimizer.zeroGrad()
  }

  /** Whether the step comes after this batch. @param last of its epoch */
  closesWith(last: boolean): boolean {
    return last || this.#batches + 1 >= this.#settings.accumulateGradBatches
  }

  /** Adds the gradients of a batch. @param count how many examples its loss is the mean of */
  backward(loss: Tensor, count: number): void {
    this.#strategy.setLossWeight(count)
    this.#learned = true
    const { accumulateGradBatches } = this.#settings
    if (accumulateGradBatches === 1) {
      loss.backward()
      return
    }
    const part = full(loss.shape, 1 / accumulateGradBatches, { device: loss.device })
    loss.backward(part)
    part[Symbol.dispose]()
  }

  /**
   * Counts a batch. Where its loss or the gradients are not finite, the step is left out
   * (nonFinite 'skip'), or will do nothing and fail.
   * @param step the number of the optimiser step that it belongs to
   * @param loss null: the batch has nothing to learn from
   * @returns whether the batch counts
   */
  async add(step: number, loss: Tensor | null, closes: boolean): Promise<boolean> {
    this.#batches++
    if (loss === null) return false
    const check = this.#finite as FiniteCheck
    if (this.#settings.nonFinite === 'error') {
      check.queue(step, loss)
      return true
    }
    const found = (await check.find(loss)) !== null
    if (!(await this.#strategy.any(found))) return true
    if (!this.#spoiled) this.skipped++
    this.#spoiled = true
    if (!closes) this.#parts.optimizer.zeroGrad()
    return false
  }

  /** Makes the step. */
  async close(): Promise<void> {
    const makes = this.#learned && !this.#spoiled
    this.#batches = 0
    this.#learned = false
    this.#spoiled = false
    if (makes) await this.#parts.optimizer.step()
  }

  /** The error to tell a user. */
  explain(error: unknown): unknown {
    return this.#finite?.explain(error) ?? error
  }

  /** For a checkpoint. */
  state(): OpenStep | null {
    if (!this.open) return null
    const gradients = new Map<string, Tensor>()
    const rows = new Map<string, Tensor>()
    for (const [name, { ownGrad }] of this.#named()) {
      if (ownGrad === null) continue
      gradients.set(name, numbersOf(ownGrad))
      if (ownGrad.rows !== null) rows.set(name, ownGrad.rows.index)
    }
    return {
      ...(rows.size === 0 ? {} : { rows }),
      batches: this.#batches,
      learned: this.#learned,
      spoiled: this.#spoiled,
      gradients,
    }
  }

  restore(open: OpenStep | null): void {
    this.#batches = open?.batches ?? 0
    this.#learned = open?.learned ?? false
    this.#spoiled = open?.spoiled ?? false
    if (open === null) return
    for (const [name, parameter] of this.#named()) {
      const grad = open.gradients.get(name)
      const index = open.rows?.get(name)
      const { device, shape } = parameter
      if (grad === undefined) parameter.grad = null
      else if (index === undefined) parameter.grad = batchOn(grad, device)
      else {
        const rows = { index: index.to(device), values: grad.to(device), form: 'any' } as const
        parameter.grad = Tensor.ofRows(sharedRows(rows), shape, device)
      }
    }
  }

  #named(): Iterable<[string, Tensor]> {
    return (this.#parts.model as Module).namedParameters()
  }
}
