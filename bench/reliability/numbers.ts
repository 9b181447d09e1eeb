/** What numbers that are very small, or not numbers, cost. */
import type { Check, Settings } from './check.js'
import { median, scaled } from './check.js'
import { answer, start } from './child.js'

async function ratios(what: string, settings: Settings): Promise<Record<string, number[]>> {
  const node = settings.nodes[0]?.path as string
  const rounds = scaled(9, settings)
  return answer(start(node, 'numbers', [what, String(rounds)], 120 + 60 * rounds))
}

const shown = (values: readonly number[] = []): string =>
  `${median(values).toFixed(2)} (${Math.min(...values).toFixed(2)}–${Math.max(...values).toFixed(2)})`

export const denormals: Check = {
  name: 'denormals',
  about: 'time of training steps with denormal numbers over that with usual ones',
  async run(settings, report) {
    const { layer = [], script = [] } = await ratios('denormals', settings)
    report({
      what: 'training steps of an LSTM whose products and states are denormal, over those with usual numbers',
      times: `${layer.length} pairs of rounds of 40 steps`,
      found: `${shown(layer)}; a loop in JavaScript, which keeps denormals: ${shown(script)}`,
      ok: median(layer) < 1.1,
    })
  },
}

export const finite: Check = {
  name: 'finite',
  about: 'what the Trainer’s look at every gradient costs',
  async run(settings, report) {
    for (const [name, values] of Object.entries(await ratios('finite', settings))) {
      report({
        what: `${name}: time of training with every gradient checked, over that with the loss alone`,
        times: `${values.length} pairs of rounds`,
        found: shown(values),
        ok: median(values) < 1.03,
      })
    }
  },
}
