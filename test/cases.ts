/** Runs the cases of test/fixtures/make_ops.py and its like: outputs, gradients and finite differences. */
import test from 'ava'
import type { Tensor } from 'fused-rnn'
import { closeTo, fixture, gradcheck } from './helpers.js'

interface Case {
  inputs: number
  outputs: number
  /** Inputs that have a gradient. */
  graded: number[]
  /** Whether finite differences say something. */
  fd: boolean
}

// biome-ignore lint/suspicious/noExplicitAny: cases take one to three tensors
export type Sides = Record<string, (...inputs: any[]) => Tensor | readonly Tensor[]>

/** One test for each case of a feature; `sides` has our function under the case's name. */
export function cases(feature: string, sides: Sides, file = 'ops'): void {
  const numbers = fixture(file)
  const all = new Map<string, Case>(Object.entries(numbers.info))
  const names = [...all.keys()].filter((name) => name.startsWith(`${feature}.`))
  test(`${feature}: every case has both sides`, (t) => {
    const ours = Object.keys(sides).map((name) => `${feature}.${name}`)
    t.deepEqual([...ours].sort(), [...names].sort())
  })
  for (const name of names) {
    const { inputs: count, outputs, graded, fd } = all.get(name) as Case
    const f = sides[name.slice(feature.length + 1)]
    if (f === undefined) continue
    test(name, async (t) => {
      const inputs = Array.from({ length: count }, (_, i) =>
        numbers.tensor(`${name}.in${i}`, { requiresGrad: graded.includes(i) }),
      )
      const single = (...args: Tensor[]): Tensor => [f(...args)].flat()[0] as Tensor
      const results = [f(...inputs)].flat() as Tensor[]
      t.is(results.length, outputs)
      for (const [i, out] of results.entries()) {
        const expected = numbers.array(`${name}.out${i}`)
        t.is(out.dtype, expected.dtype)
        await closeTo(t, out, expected, 2e-5, `output ${i}`)
      }
      if (graded.length === 0) return
      results[0]?.backward(numbers.tensor(`${name}.dy`))
      for (const i of graded) {
        const gradient = inputs[i]?.grad
        await closeTo(t, gradient, numbers.array(`${name}.grad${i}`), 1e-4, `gradient ${i}`)
      }
      if (fd) await gradcheck(t, single, inputs)
    })
  }
}
