/** Whether operations are being recorded on the tape. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { typeError } from './errors.js'

/** Off, and noting which tensors operations would have been recorded for. */
export interface Collector {
  readonly tensors: Set<unknown>
}

const gradMode = new AsyncLocalStorage<boolean | Collector>()

/** Whether operations are being recorded; as `torch.is_grad_enabled`. */
export function isGradEnabled(): boolean {
  const mode = gradMode.getStore() ?? true
  return mode === true
}

/** What notes tensors now, or null. Internal. */
export function collectorNow(): Collector | null {
  const mode = gradMode.getStore()
  return typeof mode === 'object' ? mode : null
}

/** Runs `f` as noGrad does, with a note of the tensors that require gradients. Internal. */
export function collectInto<T>(collector: Collector, f: () => T): T {
  return gradMode.run(collector, f)
}

/**
 * Runs `f` without recording operations, also across the awaits of an async `f`; as `torch.no_grad`.
 * @returns what `f` returns
 */
export function noGrad<T>(f: () => T): T {
  if (typeof f !== 'function') throw typeError('noGrad', 'f', 'a function', f)
  return gradMode.run(false, f)
}

/** The opposite of {@link noGrad}; as `torch.enable_grad`. */
export function enableGrad<T>(f: () => T): T {
  if (typeof f !== 'function') throw typeError('enableGrad', 'f', 'a function', f)
  return gradMode.run(true, f)
}
