/** Layers of every size and option beside layers.ts: outputs, gradients, updates. */
import fc from 'fast-check'
import { nn, optim, synchronize, type Tensor } from 'fused-rnn'
import { randomValues } from '../helpers.js'
import * as draw from './arbitraries.js'
import { adam, type Kind, optimised, type Rule, recurrent, type Sizes, sgd } from './layers.js'
import { difference, floats, numel, type Values } from './reference.js'
import type { Property } from './run.js'

function same(what: string, actual: Values, expected: Values, tolerance: number): void {
  const found = difference(actual, expected, tolerance)
  if (found !== null) throw new Error(`${what}: ${found}`)
}

// ---- Layers ----------------------------------------------------------------------------------------

const recurrentCalls = fc.record({
  kind: fc.constantFrom<Kind>('RNN', 'GRU', 'LSTM'),
  input: fc.integer({ min: 1, max: 6 }),
  hidden: fc.integer({ min: 1, max: 9 }),
  numLayers: fc.integer({ min: 1, max: 3 }),
  bidirectional: fc.boolean(),
  projSize: fc.nat({ max: 4 }),
  nonlinearity: fc.constantFrom('tanh' as const, 'relu' as const),
  bias: fc.boolean(),
  batchFirst: fc.boolean(),
  /** Of the sequences; of one length where they are not packed. */
  lengths: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 5 }),
  how: fc.constantFrom('packed' as const, 'batch' as const, 'alone' as const),
  states: fc.boolean(),
  seed: fc.nat(),
})
type RecurrentCall = typeof recurrentCalls extends fc.Arbitrary<infer T> ? T : never

/** [T][N][width] of what is by sequence, padded with zeros, or the other way round. */
function padded(sequences: readonly (readonly number[][])[], width: number): Values {
  const steps = Math.max(...sequences.map(({ length }) => length))
  const zeros = new Array<number>(width).fill(0)
  const data = Array.from({ length: steps }, (_, t) =>
    sequences.flatMap((sequence) => sequence[t] ?? zeros),
  ).flat()
  return floats([steps, sequences.length, width], data)
}

const stacked = (states: readonly number[][][]): Values =>
  floats([states.length, states[0]?.length ?? 0, states[0]?.[0]?.length ?? 0], states.flat(2))

async function layerAsItsFormulas(call: RecurrentCall): Promise<void> {
  const { kind, bias, how, seed } = call
  const projSize = kind === 'LSTM' && call.projSize < call.hidden ? call.projSize : 0
  const sizes: Sizes = { ...call, projSize }
  const options = { numLayers: call.numLayers, bias, bidirectional: call.bidirectional }
  const batchFirst = call.batchFirst
  const layer =
    kind === 'LSTM'
      ? new nn.LSTM(call.input, call.hidden, { ...options, batchFirst, projSize })
      : kind === 'GRU'
        ? new nn.GRU(call.input, call.hidden, { ...options, batchFirst })
        : new nn.RNN(call.input, call.hidden, {
            ...options,
            batchFirst,
            nonlinearity: call.nonlinearity,
          })
  let next = seed
  const numbers = (n: number): number[] => [...randomValues(n, next++)]
  const weights = new Map<string, Values>()
  for (const [name, parameter] of layer.namedParameters())
    weights.set(name, floats(parameter.shape, numbers(parameter.numel)))
  layer.loadStateDict(new Map([...weights].map(([name, w]) => [name, draw.toTensor(w)])))
  const lengths =
    how === 'packed'
      ? call.lengths
      : how === 'batch'
        ? call.lengths.map(() => call.lengths[0] as number)
        : [call.lengths[0] as number]
  const sequences = lengths.map((length) => Array.from({ length }, () => numbers(call.input)))
  const stacks = call.numLayers * (call.bidirectional ? 2 : 1)
  const width = projSize || call.hidden
  const state = (n: number): number[][][] =>
    Array.from({ length: stacks }, () => lengths.map(() => numbers(n)))
  const [h0, c0] = call.states ? [state(width), state(call.hidden)] : [null, null]
  const expected = recurrent(kind, sizes, weights, sequences, h0, c0)

  const batch = draw.toTensor(padded(sequences, call.input))
  const given = (values: number[][][]): Tensor => {
    const all = draw.toTensor(stacked(values))
    return how === 'alone' ? all.select(1, 0) : all
  }
  const hidden = h0 && (kind === 'LSTM' ? [given(h0), given(c0)] : given(h0))
  const forward = (x: unknown): [Tensor | nn.utils.rnn.PackedSequence, Tensor | [Tensor, Tensor]] =>
    (layer.forward as (x: unknown, state: unknown) => never)(x, hidden)
  const input =
    how === 'packed'
      ? nn.utils.rnn.packPaddedSequence(batch, lengths, { enforceSorted: false })
      : how === 'alone'
        ? batch.select(1, 0)
        : batchFirst
          ? batch.transpose(0, 1)
          : batch
  const [output, last] = forward(input)
  const outputs =
    output instanceof nn.utils.rnn.PackedSequence
      ? nn.utils.rnn.padPackedSequence(output)[0]
      : how === 'alone'
        ? output.unsqueeze(1)
        : batchFirst
          ? output.transpose(0, 1)
          : output
  const D = call.bidirectional ? 2 : 1
  // A relu's states may grow, and what is left of their differences is as inexact as they were.
  const all = [expected.output, expected.hn].flat(3)
  const largest = all.reduce((most, x) => Math.max(most, Math.abs(x)), 1)
  const tolerance = 2e-5 * largest
  same('output', await draw.fromTensor(outputs), padded(expected.output, D * width), tolerance)
  const states = Array.isArray(last) ? last : [last]
  for (const [i, wanted] of [expected.hn, expected.cn].slice(0, states.length).entries()) {
    const found = states[i] as Tensor
    same(
      `state ${i}`,
      await draw.fromTensor(how === 'alone' ? found.unsqueeze(1) : found),
      stacked(wanted),
      tolerance,
    )
  }

  // Gradients of a weighted sum of everything that came out, in a few elements of each parameter.
  const factors = numbers(numel(outputs.shape))
  const onStates = states.map((s) => numbers(s.numel))
  outputs.backward(draw.toTensor(floats(outputs.shape, factors)), { retainGraph: true })
  for (const [i, s] of states.entries())
    s.backward(draw.toTensor(floats(s.shape, onStates[i] as number[])), { retainGraph: true })
  await synchronize()
  const total = (changed: ReadonlyMap<string, Values>): number => {
    const run = recurrent(kind, sizes, changed, sequences, h0, c0)
    const dot = (a: Values, b: readonly number[]): number =>
      a.data.reduce((sum, value, i) => sum + value * (b[i] as number), 0)
    return [run.hn, run.cn]
      .slice(0, states.length)
      .reduce(
        (sum, s, i) => sum + dot(stacked(s), onStates[i] as number[]),
        dot(padded(run.output, D * width), factors),
      )
  }
  // The derivative of relu jumps: a step over the jump says nothing.
  if (kind === 'RNN' && call.nonlinearity === 'relu') return
  for (const [name, parameter] of layer.namedParameters()) {
    const { grad } = parameter
    if (grad === null) throw new Error(`no gradient of ${name}`)
    const gradient = await grad.data()
    const values = weights.get(name) as Values
    const i = Math.floor(((randomValues(1, next++)[0] as number) + 1) * 0.5 * values.data.length)
    const at = (by: number): number => {
      const moved = { ...values, data: values.data.with(i, (values.data[i] as number) + by) }
      return total(new Map(weights).set(name, moved))
    }
    const slope = (at(1e-4) - at(-1e-4)) / 2e-4
    same(
      `gradient of ${name}[${i}]`,
      floats([], [gradient[i] as number]),
      floats([], [slope]),
      1e-3,
    )
  }
}

// ---- Optimisers ------------------------------------------------------------------------------------

const settings = fc.record({
  kind: fc.constantFrom('SGD' as const, 'Adam' as const, 'AdamW' as const),
  lr: fc.constantFrom(0, 1e-3, 0.1),
  momentum: fc.constantFrom(0, 0.9),
  dampening: fc.constantFrom(0, 0.5),
  weightDecay: fc.constantFrom(0, 0.01, 0.5),
  nesterov: fc.boolean(),
  maximize: fc.boolean(),
  amsgrad: fc.boolean(),
  beta1: fc.constantFrom(0, 0.5, 0.9),
  beta2: fc.constantFrom(0, 0.9, 0.999),
  eps: fc.constantFrom(1e-8, 1e-3),
  maxGradNorm: fc.option(fc.constantFrom(0.1, 1, 100)),
  maxGradValue: fc.option(fc.constantFrom(0.05, 0.5, 100)),
  shapes: fc.array(draw.shapes(3), { minLength: 1, maxLength: 4 }),
  steps: fc.integer({ min: 1, max: 4 }),
  seed: fc.nat(),
})
type Settings = typeof settings extends fc.Arbitrary<infer T> ? T : never

async function optimiserAsItsFormulas(call: Settings): Promise<void> {
  const { lr, momentum, weightDecay, maximize, amsgrad, eps, maxGradNorm, maxGradValue } = call
  const nesterov = call.nesterov && momentum > 0
  const dampening = nesterov ? 0 : call.dampening
  const betas: [number, number] = [call.beta1, call.beta2]
  let next = call.seed
  const values = call.shapes.map((shape) => floats(shape, randomValues(numel(shape), next++)))
  const steps = Array.from({ length: call.steps }, () =>
    // The square root is steep near 0, where float32 and float64 differ most.
    call.shapes.map((shape) =>
      [...randomValues(numel(shape), next++)].map((g) => Math.fround(g + Math.sign(g) * 0.1)),
    ),
  )
  const clip = { maxGradNorm: maxGradNorm ?? undefined, maxGradValue: maxGradValue ?? undefined }
  const parameters = values.map((v) => draw.toTensor(v, true))
  const adams = { lr, betas, eps, weightDecay, amsgrad, maximize }
  const sgds = { lr, momentum, dampening, weightDecay, nesterov, maximize }
  const rule: Rule = call.kind === 'SGD' ? sgd(sgds) : adam(adams, call.kind === 'AdamW')
  const optimizer =
    call.kind === 'SGD'
      ? new optim.SGD(parameters, { ...sgds, ...clip })
      : new optim[call.kind](parameters, { ...adams, ...clip })
  for (const gradients of steps) {
    parameters.forEach((parameter, p) => {
      parameter.grad = draw.toTensor(floats(parameter.shape, gradients[p] as number[]))
    })
    await optimizer.step()
  }
  const expected = optimised(rule, values, steps, maxGradNorm, maxGradValue)
  for (const [p, parameter] of parameters.entries())
    same(`parameter ${p}`, await draw.fromTensor(parameter), expected[p] as Values, 2e-4)
}

export const trainingProperties: Property[] = [
  {
    name: 'a recurrent layer',
    share: 2,
    property: fc.asyncProperty(recurrentCalls, layerAsItsFormulas),
  },
  {
    name: 'an optimiser',
    share: 2,
    property: fc.asyncProperty(settings, optimiserAsItsFormulas),
  },
]
