/**
 * V8 sees little of a tensor but a small object: told of the memory behind it, it looks through the
 * whole heap (some ten milliseconds, with threads of its own) for tensors that were dropped. A
 * training step's die young, and looking through the young objects alone takes less than a
 * millisecond; but nothing except V8's function `gc` starts it.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

type Collect = (options: { type: 'minor' }) => void

let collect: Collect | null | undefined

function find(): Collect | null {
  if (process.env.FUSED_RNN_YOUNG_GC === 'off') return null
  const given = (globalThis as { gc?: unknown }).gc
  if (typeof given === 'function') return given as Collect
  // V8 ends a process that changes a flag there.
  if (process.versions.electron !== undefined) return null
  try {
    // A context has the function if the flag is set when it is made.
    setFlagsFromString('--expose-gc')
    const found: unknown = runInNewContext('gc')
    setFlagsFromString('--no-expose-gc')
    return typeof found === 'function' ? (found as Collect) : null
  } catch {
    return null
  }
}

/** Does nothing where V8's function cannot be had. */
export function collectYoung(): void {
  if (collect === undefined) collect = find()
  collect?.({ type: 'minor' })
}
