/**
 * The benchmark's training workloads, with its models and data, against PyTorch
 * (fixtures/make_workloads.py): losses, gradient norms, and how far every parameter moves in clipped
 * SGD steps. Dropout is 0.
 */
import { readFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { nn, optim, type Tensor, tensor } from 'fused-rnn'
import { build } from '#bench/peers/models.js'
import { workloads } from '#bench/workloads.js'
import { long } from './device-tests.js'

interface Case {
  scale: number
  lr: number
  maxNorm: number
  losses: number[]
  norms: number[]
  moved: Record<string, { sum: number; norm: number }>
}

const file = new URL('../test/fixtures/workloads.json', import.meta.url)
const { cases } = JSON.parse(readFileSync(file, 'utf8')) as {
  cases: Record<string, Case>
}

/** The numbers of make_workloads.py's `fill`. */
function fill(count: number, seed: number, scale: number): Float32Array {
  const start = Math.imul(seed, 0x9e3779b9)
  return Float32Array.from({ length: count }, (_, i) => {
    let x = (i + start) >>> 0
    x = Math.imul(x ^ (x >>> 16), 0x45d9f3b)
    x = Math.imul(x ^ (x >>> 16), 0x45d9f3b)
    x = (x ^ (x >>> 16)) >>> 0
    return ((x >>> 21) / 1024 - 1) * scale
  })
}

/** Fills every parameter; the values by name. */
function fillAll(model: nn.Module, scale: number): Map<string, Float32Array> {
  const values = new Map<string, Float32Array>()
  const state = new Map<string, Tensor>()
  for (const [name, parameter] of model.namedParameters()) {
    const start = fill(parameter.numel, values.size, scale)
    values.set(name, start)
    state.set(name, tensor(start, { shape: parameter.shape }))
  }
  model.loadStateDict(state, { strict: false })
  return values
}

function near(
  t: ExecutionContext,
  what: string,
  actual: number,
  expected: number,
  allowed: number,
): void {
  const difference = Math.abs(actual - expected)
  t.true(difference <= allowed, `${what}: got ${actual}, expected ${expected} ± ${allowed}`)
}

for (const w of workloads) {
  // One after the other: each is large enough for every thread.
  const small = ['lyrics-lstm', 'timemachine-gru2'].includes(w.name)
  ;(small ? test.serial : long)(w.name, async (t: ExecutionContext) => {
    const expected = cases[w.name] as Case
    const { model, backward } = build({ ...w, dropout: 0 })
    const start = fillAll(model, expected.scale)
    t.deepEqual([...start.keys()], Object.keys(expected.moved))
    const { lr, maxNorm, losses } = expected
    const optimizer = new optim.SGD(model.parameters(), { lr, maxGradNorm: maxNorm })
    for (const [step, loss] of losses.entries()) {
      optimizer.zeroGrad()
      const actual = backward()
      // The norm only: nothing is that large.
      const norm = nn.utils.clipGradNorm(model.parameters(), 1e30)
      await optimizer.step()
      near(t, `loss of step ${step}`, await actual.item(), loss, 2e-5 * loss)
      const whole = expected.norms[step] as number
      near(t, `gradient norm of step ${step}`, await norm.item(), whole, 1e-4 * whole)
    }
    for (const [name, parameter] of model.namedParameters()) {
      const values = (await parameter.data()) as Float32Array
      const before = start.get(name) as Float32Array
      let sum = 0
      let squares = 0
      values.forEach((value, i) => {
        const by = value - (before[i] as number)
        sum += by
        squares += by * by
      })
      const moved = expected.moved[name] as Case['moved'][string]
      // What is left of float32 after as many roundings.
      const rounding = losses.length * Math.sqrt(values.length) * expected.scale * 2 ** -24
      const allowed = 1e-4 * moved.norm + rounding
      near(t, `how far ${name} moved`, Math.sqrt(squares), moved.norm, allowed)
      near(t, `sum of what ${name} moved`, sum, moved.sum, allowed)
    }
  })
}
