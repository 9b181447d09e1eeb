/**
 * Time limits of the tests. They are there for what hangs, not for speed: generous, and longer on a
 * machine that is slow or busy when the tests begin. Imports nothing of the library; scripts/test.mjs
 * measures for all test files.
 */
import { type SpawnOptions, spawn } from 'node:child_process'
import { availableParallelism, loadavg } from 'node:os'

/** scripts/sanitize.mjs runs the tests with an addon that is many times slower. */
export const sanitized = Boolean(process.env.FUSED_RNN_SANITIZER)

/** Of the work below on a core that does nothing else; what is faster counts as this. */
const QUIET_MS = 25

/** How many times longer than on a quiet machine things take now; at least 1. */
function measure(): number {
  const times = Array.from({ length: 5 }, () => {
    const start = performance.now()
    let x = 1
    for (let i = 0; i < 1e7; i++) x = (Math.imul(x, 1664525) + 1013904223) | 0
    return x === 0.5 ? 0 : performance.now() - start
  })
  const median = times.sort((a, b) => a - b)[2] as number
  const load = (loadavg()[0] as number) / availableParallelism()
  return Math.min(20, Math.max(1, median / QUIET_MS, load))
}

export const slowness: number = Number(process.env.FUSED_RNN_TEST_SLOWNESS) || measure()

/** A limit in ms for what takes well below so many seconds on a quiet machine. */
export function limit(seconds: number): number {
  return Math.ceil(1000 * seconds * slowness * (sanitized ? 10 : 1))
}

export interface Finished {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
  seconds: number
}

export interface RunOptions extends SpawnOptions {
  /** See {@link limit}. Default 300. */
  limitSeconds?: number
  /** Called whenever something was written, with all of it so far. */
  watch?(stdout: string, kill: (signal: NodeJS.Signals) => void, stderr: string): void
}

/**
 * Runs a program to its end.
 * @returns how it ended; rejects when it could not be started, and with what it has written so far
 *   when it was killed because it took longer than the limit
 */
export function run(
  command: string,
  args: readonly string[],
  { limitSeconds = 300, watch, ...options }: RunOptions = {},
): Promise<Finished> {
  const start = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const finished: Finished = { code: null, signal: null, stdout: '', stderr: '', seconds: 0 }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      finished[name] += text
      watch?.(finished.stdout, (signal) => child.kill(signal), finished.stderr)
    })
  }
  return new Promise((resolve, reject) => {
    const milliseconds = Math.min(2 ** 31 - 1, limit(limitSeconds))
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      // Children of its own may keep the pipes open.
      for (const stream of [child.stdout, child.stderr]) stream?.destroy()
      const { stdout, stderr } = finished
      const seconds = ((performance.now() - start) / 1000).toFixed(1)
      reject(
        new Error(
          `${command} ${args.join(' ').slice(0, 200)}: killed by the test's time limit after ${seconds} s (${milliseconds} ms, slowness ${slowness.toFixed(1)}); it wrote:\n${stdout.slice(-2000)}\n${stderr.slice(-2000)}`,
        ),
      )
    }, milliseconds)
    child.on('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ ...finished, code, signal, seconds: (performance.now() - start) / 1000 })
    })
  })
}
