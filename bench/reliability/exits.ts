/** Ends processes and worker threads in the middle of training, in every way there is. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Check } from './check.js'
import { scaled } from './check.js'
import { answer, type Finished, start } from './child.js'
import { random } from './programs/steps.js'

interface Way {
  name: string
  what: string
  /** Sent after the delay. */
  signal?: NodeJS.Signals
  /** A wrong outcome in words, or null. */
  wrong(end: Finished): string | null
}

function expected(code: number | null, signal: NodeJS.Signals | null, says = /(?:)/) {
  return (end: Finished): string | null => {
    if (end.hung) return 'hung'
    if (end.code !== code || end.signal !== signal) return `ended with ${end.signal ?? end.code}`
    return says.test(end.stdout + end.stderr) ? null : 'said something else'
  }
}

const WAYS: Way[] = [
  { name: 'exit', what: 'process.exit between two steps', wrong: expected(7, null) },
  { name: 'in-step', what: 'process.exit with a step queued', wrong: expected(7, null) },
  { name: 'uncaught', what: 'an uncaught exception', wrong: expected(1, null, /on purpose/) },
  { name: 'rejected', what: 'an unhandled rejection', wrong: expected(1, null, /on purpose/) },
  {
    name: 'failing',
    what: 'an unhandled rejection of an operation',
    wrong: expected(1, null, /\[embedding\]/),
  },
  { name: 'sigint', what: 'Ctrl-C', signal: 'SIGINT', wrong: expected(null, 'SIGINT') },
  { name: 'sigterm', what: 'SIGTERM', signal: 'SIGTERM', wrong: expected(null, 'SIGTERM') },
  {
    name: 'handled',
    what: 'Ctrl-C with a handler that calls process.exit',
    signal: 'SIGINT',
    wrong: expected(130, null),
  },
  {
    name: 'abort',
    what: 'Ctrl-C with a handler that ends training',
    signal: 'SIGINT',
    wrong: expected(0, null, /aborted/),
  },
]

const LOOPS = ['loop', 'trainer']

export const exits: Check = {
  name: 'exits',
  about: 'process.exit, exceptions, rejections and signals at random moments of a training',
  async run(settings, report) {
    const draw = random(1)
    const times = scaled(20, settings)
    const versions = settings.nodes.map(({ version }) => version).join(', ')
    for (const { name, what, signal, wrong } of WAYS) {
      const lost: string[] = []
      for (const { version, path } of settings.nodes) {
        for (let i = 0; i < times; i++) {
          const delay = Math.round(draw() * 250)
          const by = LOOPS[i % LOOPS.length] as string
          const child = start(path, 'exit', [name, by, String(delay)], 30)
          await child.printed('ready')
          if (signal !== undefined) {
            await sleep(delay)
            child.process.kill(signal)
          }
          const end = await child.finished
          const problem = wrong(end)
          if (problem === null) continue
          lost.push(`${problem} (Node ${version}, ${by}, ${delay} ms): ${end.stderr.trim()}`)
        }
      }
      report({
        what: `${what}, at a random moment of a training`,
        times: `${times} processes each on Node ${versions}`,
        found: lost.length === 0 ? 'the right exit code each time' : lost.join('; '),
        ok: lost.length === 0,
      })
    }
  },
}

interface WorkersAnswer {
  counts: Record<string, number>
  slowest: number
  steps: number
  same: boolean
}

export const workers: Check = {
  name: 'workers',
  about: 'worker threads that train at once, ended at random moments',
  async run(settings, report) {
    for (const [i, { version, path }] of settings.nodes.entries()) {
      const times = scaled(150, settings)
      const child = start(path, 'workers', [String(times), String(i + 1)], 60 + 3 * times)
      const what = `Node ${version}: four threads train at once; one after the other is terminated in the middle of a step or with its queue full, ends by itself, calls process.exit or throws`
      try {
        const { counts, slowest, steps, same } = await answer<WorkersAnswer>(child)
        const kinds = Object.entries(counts).map(([kind, count]) => `${kind} ${count}`)
        report({
          what,
          times: `${times + 3} worker threads (${kinds.sort().join(', ')})`,
          found: `no crash; the slowest end took ${Math.round(slowest)} ms; the main thread made ${steps} steps and ${same ? 'still computes the same bits' : 'COMPUTES SOMETHING ELSE'}`,
          ok: same,
        })
      } catch (error) {
        report({ what, times: `${times}`, found: (error as Error).message, ok: false })
      }
    }
  },
}
