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

/** Whether V8 would end the process for a changed flag. */
function frozen(): boolean {
  const flags = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ')
  return (
    process.release.name !== 'node' || 'electron' in process.versions || /freeze.flags/.test(flags)
  )
}

/** A new context has the function if the flag is set when it is made. */
const found = (): Collect | null =>
  runInNewContext('typeof gc === "function" ? gc : null') as Collect | null

function find(): Collect | null {
  if (process.env.FUSED_RNN_YOUNG_GC === 'off') return null
  const given = found()
  if (given !== null || frozen()) return given
  setFlagsFromString('--expose-gc')
  try {
    return found()
  } finally {
    setFlagsFromString('--no-expose-gc')
  }
}

/** Does nothing where V8's function cannot be had. */
export function collectYoung(): void {
  try {
    if (collect === undefined) collect = find()
    collect?.({ type: 'minor' })
  } catch {
    collect = null
  }
}
