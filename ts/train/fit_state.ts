/** What a checkpoint has beside the weights and the loop's own: saved, and taken over as a whole or not at all. */
import type { Module } from '../nn/module.js'
import type { Scheduler } from '../optim/lr_scheduler.js'
import { randomState, setRandomState } from '../random.js'
import { Tensor } from '../tensor.js'
import { restoreStates, statesOf } from './callback_states.js'
import type { History } from './history.js'
import { isSeekable } from './source.js'
import type { LoopState } from './state.js'
import type { CallbackHooks, Logger, LoopParts } from './types.js'

type SharedState = Pick<LoopState, 'random' | 'optimizer' | 'scheduler' | 'trainData' | 'callbacks'>

/** The states of what a fit was given. @throws TypeError when a callback's cannot be saved */
export function sharedState<B>(
  { optimizer, schedule, trainData }: LoopParts<B>,
  callbacks: readonly CallbackHooks[],
): SharedState {
  return {
    random: randomState(),
    optimizer: optimizer.stateDict(),
    scheduler: schedule?.scheduler.stateDict() ?? null,
    trainData: isSeekable(trainData) ? trainData.state() : null,
    callbacks: statesOf(callbacks),
  }
}

/** Goes on from {@link sharedState}. @throws whatever something says that it does not fit */
export function restoreShared<B>(
  { optimizer, schedule, trainData }: LoopParts<B>,
  callbacks: readonly CallbackHooks[],
  state: SharedState,
): void {
  optimizer.loadStateDict(state.optimizer as never)
  if (schedule !== null && state.scheduler !== null)
    (schedule.scheduler as Scheduler).loadStateDict(state.scheduler)
  if (isSeekable(trainData) && state.trainData !== null) trainData.restore(state.trainData)
  restoreStates(callbacks, state.callbacks)
  setRandomState(state.random)
}

/** Takes what has been logged since a checkpoint out of the logs: it comes again. */
export async function cutLogs(
  loggers: readonly Logger[],
  history: History,
  step: number,
): Promise<void> {
  const records = history.records.filter((record) => record.step === step)
  for (const logger of loggers) await logger.resume?.(step, records.length)
}

/**
 * Does what changes a model, its optimiser, its schedule, the data, callbacks and the random numbers.
 * When it fails, they are all as they were.
 */
export async function allOrNothing<B>(
  { model, optimizer, schedule, trainData }: LoopParts<B>,
  callbacks: readonly CallbackHooks[],
  work: () => Promise<void>,
): Promise<void> {
  const copies: Tensor[] = []
  const undo: (() => void)[] = []
  /** What loadStateDict has to be given to undo. */
  const keep = <S>(state: S, load: (state: S) => void): void => {
    const saved = copyOf(state, copies) as S
    undo.push(() => load(saved))
  }
  keep(model.stateDict(), (state) => (model as Module).loadStateDict(state))
  if (schedule !== null) {
    const scheduler = schedule.scheduler as Scheduler
    keep(scheduler.stateDict(), (state) => scheduler.loadStateDict(state as never))
  }
  // After the schedule, which may set learning rates.
  keep(optimizer.stateDict(), (state) => optimizer.loadStateDict(state as never))
  if (isSeekable(trainData)) keep(trainData.state(), (state) => trainData.restore(state))
  for (const callback of callbacks) {
    if (callback.stateDict === undefined) continue
    keep(callback.stateDict(), (state) => callback.loadStateDict?.(state))
  }
  keep(randomState(), setRandomState)
  try {
    await work()
  } catch (error) {
    for (const one of undo) {
      try {
        one()
      } catch {
        // One that refuses its own state must not keep the others from theirs; the first error counts.
      }
    }
    throw error
  } finally {
    for (const copy of copies) copy[Symbol.dispose]()
  }
}

/** Plain data with copies of the tensors in it. */
function copyOf(value: unknown, copies: Tensor[]): unknown {
  if (value instanceof Tensor) {
    const copy = value.clone()
    copies.push(copy)
    return copy
  }
  if (Array.isArray(value)) return value.map((item) => copyOf(item, copies))
  if (value instanceof Map)
    return new Map([...value].map(([key, item]) => [key, copyOf(item, copies)]))
  if (Object.prototype.toString.call(value) !== '[object Object]') return value
  return Object.fromEntries(
    Object.entries(value as object).map(([key, item]) => [key, copyOf(item, copies)]),
  )
}
