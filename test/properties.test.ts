/**
 * Properties (fast-check): every operation beside a plain one in double precision, layers and
 * optimisers beside their formulas, wrong arguments of every exported function, arrays of every
 * kind. Each area runs in a process of its own, whose memory is limited and which may not survive.
 *
 * FUSED_RNN_PROPERTY_RUNS=1000000 checks each property so often. The usual run is the same every time;
 * FUSED_RNN_SEED=random, or a number, makes it another one.
 */
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { emulated } from './helpers.js'
import { run } from './limits.js'

const runs = process.env.FUSED_RNN_PROPERTY_RUNS
const wanted = process.env.FUSED_RNN_SEED ?? '1'
const seed = wanted === 'random' ? String(Date.now() % 1e6) : wanted

/** How often each property of an area is checked in every run of the tests: one or two seconds. */
const AREAS = { values: 80, gradients: 60, training: 120, arguments: 12, arrays: 100 }

for (const [area, usual] of Object.entries(AREAS)) {
  test.serial(`properties: ${area}`, async (t) => {
    t.timeout(2 ** 31 - 1)
    const times = runs ?? String(emulated ? Math.ceil(usual / 4) : usual)
    const path = fileURLToPath(new URL('./properties/main.js', import.meta.url))
    const { code, signal, stderr } = await run(process.execPath, [path, area, times, seed], {
      env: { ...process.env, FUSED_RNN_MEMORY_LIMIT: String(2 ** 29) },
      stdio: ['ignore', 'ignore', 'pipe'],
      // A million runs take their time.
      limitSeconds: runs === undefined ? 600 : 2 ** 31 / 1000 / 20,
    })
    t.is(code ?? signal, 0, `seed ${seed}, ${times} runs: ${stderr.slice(0, 20_000)}`)
  })
}
