/** Resident memory over many steps of every kind, without anything being disposed of by hand. */
import type { Check, Settings } from './check.js'
import { scaled } from './check.js'
import { answer, start } from './child.js'

interface MemoryAnswer {
  samples: { step: number; rss: number; heap: number }[]
  live: number[]
  seconds: number
  refused: string | null
  stats: { allocated: number; buffers: number }
}

const KINDS = {
  loop: 'a hand-written training loop with one await per step',
  trainer: 'the Trainer',
  inference: 'inference, every result read',
  models: 'a model made, trained for one step and dropped, each step',
}

const MB = 2 ** 20
/** The bar: so much more at the end than after a tenth. */
const GROWTH = 0.05
/**
 * V8 doubles its young generation at some moment of any program; here it has its full size (in MB)
 * from the beginning, so that what is seen is not that.
 */
const FLAGS = ['--expose-gc', '--min-semi-space-size=16', '--max-semi-space-size=16']

async function run(
  kind: string,
  steps: number,
  { nodes }: Settings,
  env: Record<string, string> = {},
): Promise<MemoryAnswer> {
  const node = nodes[0]?.path as string
  const seconds = 120 + steps / 10
  const options = { env, flags: FLAGS }
  return answer<MemoryAnswer>(start(node, 'memory', [kind, String(steps)], seconds, options))
}

type Sample = MemoryAnswer['samples'][number]

const percent = (before: number, after: number): string =>
  `${after >= before ? '+' : '−'}${Math.abs(100 * (after / before - 1)).toFixed(1)} %`

export const memory: Check = {
  name: 'memory',
  about: 'resident memory over 20,000 steps of four kinds of loops, and of one that never awaits',
  async run(settings, report) {
    const steps = scaled(20_000, settings)
    for (const [kind, what] of Object.entries(KINDS)) {
      const { samples, live, stats } = await run(kind, steps, settings)
      // Garbage comes and goes: the most in a stretch of samples, not one of them.
      const most = (from: number, to: number, of: (s: Sample) => number): number =>
        Math.max(
          ...samples.filter(({ step }) => step > from * steps && step <= to * steps).map(of),
        ) / MB
      const both = (of: (s: Sample) => number): [number, number] => [
        most(0.1, 0.25, of),
        most(0.85, 1, of),
      ]
      const resident = both(({ rss }) => rss)
      const outside = both(({ rss, heap }) => rss - heap)
      const [before = 0, after = 0] = live.map((bytes) => bytes / MB)
      report({
        what,
        times: `${steps.toLocaleString('en')} steps`,
        found: `resident at most ${resident[0].toFixed(0)} MB in steps ${steps / 10} to ${steps / 4}, ${resident[1].toFixed(0)} MB in the last ones (${percent(...resident)}; outside of V8's heap ${percent(...outside)}); live JavaScript objects ${before.toFixed(1)} MB, then ${after.toFixed(1)} MB; ${(stats.allocated / MB).toFixed(1)} MB in ${stats.buffers} buffers left`,
        ok: outside[1] < outside[0] * (1 + GROWTH) && after < before * (1 + GROWTH),
      })
    }
    const env = { FUSED_RNN_MEMORY_LIMIT: '1e9' }
    const greedy = await run('greedy', scaled(60_000, settings), settings, env)
    const most = Math.max(...greedy.samples.map(({ rss }) => rss)) / MB
    const last = greedy.samples.at(-1)?.step ?? 0
    report({
      what: 'a loop that never awaits and disposes of nothing, with FUSED_RNN_MEMORY_LIMIT=1e9',
      times: `${last.toLocaleString('en')} steps, then ${greedy.refused === null ? 'its end' : 'refused'}`,
      found: `never more than ${most.toFixed(0)} MB; ${greedy.refused ?? 'no error'}`,
      ok: greedy.refused === null || /out of memory.*await/.test(greedy.refused),
    })
  },
}
