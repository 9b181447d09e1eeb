/** The event loop while training runs at full speed on all cores. */
import { optional } from '#bench/peers/serve.js'
import { workloads } from '#bench/workloads.js'
import type { Check, Settings } from './check.js'
import { median, scaled } from './check.js'
import { answer, start } from './child.js'

interface Times {
  count: number
  median: number
  max: number
}

interface Watched {
  p50: number
  p99: number
  max: number
  http: Times
  fs: Times
  rate: number
}

/** The bars, in ms. */
const P99 = 10
const MAX = 50
/** Seconds of a round, and rounds, of which the median counts. */
const SECONDS = 3
const ROUNDS = 5

async function watch(
  name: string,
  by: string,
  settings: Settings,
  env: Record<string, string> = {},
): Promise<Watched> {
  const node = settings.nodes[0]?.path as string
  const args = [name, by, String(SECONDS)]
  return answer<Watched>(start(node, 'event_loop', args, 120 + 10 * SECONDS, { env }))
}

async function rounds(name: string, by: string, settings: Settings): Promise<Watched[]> {
  const all: Watched[] = []
  for (let i = 0; i < scaled(ROUNDS, settings); i++) all.push(await watch(name, by, settings))
  return all
}

/** Where FUSED_RNN_PEERS names a folder that has it. */
const hasTensorFlow = (): boolean =>
  optional('@tensorflow/tfjs-node') !== null || optional('@tensorflow/tfjs') !== null

const ms = (value: number): string => value.toFixed(value < 10 ? 1 : 0)
/** The median and the largest of the rounds. */
function spread(all: readonly Watched[], of: (one: Watched) => number): string {
  const values = all.map(of)
  return `${ms(median(values))} (${ms(Math.max(...values))})`
}

export const eventLoop: Check = {
  name: 'event-loop',
  about:
    'delay of the event loop, HTTP and file reads while every workload trains on all cores, beside TensorFlow.js',
  async run(settings, report) {
    const seconds = `${scaled(ROUNDS, settings)} rounds of ${SECONDS} s`
    const cases: [string, string, string][] = [
      ['nothing', 'loop', 'nothing is trained'],
      ['spin', 'loop', 'threads without this library keep all cores busy'],
      ...workloads.flatMap(({ name }) =>
        ['loop', 'trainer'].map((by): [string, string, string] => [
          name,
          by,
          `${name}, ${by === 'loop' ? 'own loop' : 'Trainer'}`,
        ]),
      ),
      ...(hasTensorFlow()
        ? ['dinos-rnn', 'lyrics-rnn'].map((name): [string, string, string] => [
            name,
            'tfjs',
            `${name}, TensorFlow.js`,
          ])
        : []),
    ]
    for (const [name, by, what] of cases) {
      // In JavaScript alone a step of theirs can take half a minute.
      const once = by === 'tfjs'
      const all = await rounds(name, by, once ? { ...settings, scale: 0 } : settings)
      const p99 = median(all.map((one) => one.p99))
      const max = median(all.map((one) => one.max))
      report({
        what,
        times: once ? `${SECONDS} s` : seconds,
        found: `event loop p99 ${spread(all, (one) => one.p99)} ms, max ${spread(all, (one) => one.max)} ms; HTTP median ${spread(all, (one) => one.http.median)} ms, max ${spread(all, (one) => one.http.max)} ms; file read median ${spread(all, (one) => one.fs.median)} ms, max ${spread(all, (one) => one.fs.max)} ms`,
        ok: name === 'nothing' || name === 'spin' || by === 'tfjs' ? null : p99 < P99 && max < MAX,
      })
    }
  },
}

/** The most that training may lose. */
const LOSS = 0.03

export const throughput: Check = {
  name: 'throughput',
  about: 'what training loses by leaving the event loop free',
  async run(settings, report) {
    for (const { name } of workloads) {
      const ratios: number[] = []
      for (let i = 0; i < scaled(ROUNDS, settings); i++) {
        const free = await watch(name, 'alone', settings)
        const blocking = await watch(name, 'alone', settings, { FUSED_RNN_BLOCKING: '1' })
        ratios.push(free.rate / blocking.rate)
      }
      report({
        what: `${name}: steps per second, over those of the same loop with every operation on the script's thread`,
        times: `${ratios.length} pairs of rounds of ${SECONDS} s`,
        found: `${median(ratios).toFixed(3)} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`,
        ok: median(ratios) > 1 - LOSS,
      })
    }
  },
}
