/** Whether operations are being recorded on the tape. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { typeError } from './errors.js'

const gradMode = new AsyncLocalStorage<boolean>()

/** Whether operations are being recorded; as `torch.is_grad_enabled`. */
export function isGradEnabled(): boolean {
  return gradMode.getStore() ?? true
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
