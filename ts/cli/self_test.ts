/** What `fused-rnn doctor` runs on a device: a training that must learn, gradients that must be right. */
import { manualSeed, nn, noGrad, optim, randn, type Tensor, tensor } from '../index.js'

/** The outcome of one test. */
export interface Check {
  name: string
  ok: boolean
  /** What was measured. */
  detail: string
}

/** A module and its one output. */
export interface Subject {
  name: string
  module: nn.Module
  run(x: Tensor): Tensor
}

const TEXT = 'to be or not to be '
const STEPS = 40
const LEAST_STEPS = 5

/**
 * Trains an LSTM on a few words: the loss must fall to a third.
 * @param seconds on a device that takes longer, it must have fallen by a twentieth by then
 */
export async function checkTraining(on: string, seconds: number, lr = 0.05): Promise<Check> {
  const letters = [...new Set(TEXT)]
  const indices = Int32Array.from(TEXT, (letter) => letters.indexOf(letter))
  const inputs = tensor(indices, { device: on })
  const targets = tensor(
    indices.map((_, i) => indices[(i + 1) % indices.length] as number),
    { device: on },
  )
  manualSeed(1)
  const layer = new nn.LSTM(letters.length, 16, { device: on })
  const decoder = new nn.Linear(16, letters.length, { device: on })
  const criterion = new nn.CrossEntropyLoss()
  const parameters = [...layer.parameters(), ...decoder.parameters()]
  const optimizer = new optim.Adam(parameters, { lr, maxGradNorm: 1 })
  const end = performance.now() + seconds * 1000
  let first = Number.NaN
  let last = Number.NaN
  let step = 0
  while (step < LEAST_STEPS || (step < STEPS && performance.now() < end)) {
    optimizer.zeroGrad()
    const [output] = layer.forward(nn.functional.oneHot(inputs, letters.length))
    const loss = criterion.forward(decoder.forward(output), targets)
    loss.backward()
    await optimizer.step()
    last = await loss.item()
    if (step === 0) first = last
    step++
  }
  const detail = `loss ${first.toFixed(2)} → ${last.toFixed(2)} in ${step} steps`
  return { name: 'training', ok: last < first * (step < STEPS ? 0.95 : 1 / 3), detail }
}

/** RNN, GRU and LSTM: small ones, with all that has a gradient of its own. */
export function subjects(on: string): Subject[] {
  const options = { numLayers: 2, bidirectional: true, device: on }
  const rnn = new nn.RNN(5, 7, options)
  const gru = new nn.GRU(5, 7, options)
  const lstm = new nn.LSTM(5, 7, options)
  return [
    { name: 'RNN', module: rnn, run: (x) => rnn.forward(x)[0] },
    { name: 'GRU', module: gru, run: (x) => gru.forward(x)[0] },
    { name: 'LSTM', module: lstm, run: (x) => lstm.forward(x)[0] },
  ]
}

/**
 * Compares backward() with finite differences, along one random direction for the input and for
 * each parameter: the derivative must be the gradient times the direction.
 */
export async function checkGradients(on: string, { name, module, run }: Subject): Promise<Check> {
  manualSeed(2)
  const x = randn([6, 3, 5], { device: on, requiresGrad: true })
  const weights = randn(run(x).shape, { device: on })
  const loss = (input: Tensor): Tensor => run(input).mul(weights).sum()
  module.zeroGrad()
  loss(x).backward()

  let worst = 0
  /** @param at the loss with other values in place of the leaf's */
  const compare = async (leaf: Tensor, at: (moved: Tensor) => Tensor): Promise<void> => {
    const direction = randn(leaf.shape, { device: on })
    const gradient = leaf.grad
    const expected = await derivative((step) =>
      noGrad(() => at(leaf.add(direction.mul(step)))).item(),
    )
    const actual = gradient === null ? 0 : await gradient.mul(direction).sum().item()
    const difference = Math.abs(actual - expected) / Math.max(1, Math.abs(expected))
    // NaN is as bad as can be.
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Infinity : difference
  }
  await compare(x, loss)
  for (const [key, parameter] of module.namedParameters()) {
    const values = tensor(await parameter.data(), { shape: parameter.shape, device: on })
    const original = new Map([[key, values]])
    await compare(parameter, (moved) => {
      module.loadStateDict(new Map([[key, moved]]), { strict: false })
      const value = loss(x)
      module.loadStateDict(original, { strict: false })
      return value
    })
  }
  const detail = `gradients within ${worst.toExponential(0)} of finite differences`
  return { name, ok: worst <= TOLERANCE, detail }
}

/** Relative to the derivative, or absolute below 1; float32 leaves about a tenth of it. */
const TOLERANCE = 2e-3

/** Of f at 0, from four points, so that the step can be large enough for float32. */
async function derivative(f: (step: number) => Promise<number>): Promise<number> {
  const step = 1e-2
  const values: number[] = []
  for (const times of [1, -1, 2, -2]) values.push(await f(times * step))
  const [a = 0, b = 0, c = 0, d = 0] = values
  return (8 * (a - b) - (c - d)) / (12 * step)
}
