/**
 * A recurrent network learns to add 8-bit numbers, with backpropagation through time written out by
 * hand; after Andrew Trask, "Anyone can learn to code an LSTM-RNN in Python (Part 1: RNN)", 2015. The
 * tape finds the same gradients.
 */
import { noGrad, rand, stack, type Tensor, tensor, zeros } from 'fused-rnn'
import { choice, options, Progress } from './common.js'

const bits = 8
const hidden = 16
const lr = 0.1

/** What the network is: W0 [2, H] from the bits, Wh [H, H] from the step before, W1 [H, 1] to the sum. */
type Weights = [w0: Tensor, wh: Tensor, w1: Tensor]

/** From the lowest bit up: the bits of both numbers [T, 1, 2] and those of their sum [T, 1, 1]. */
function problem(a: number, b: number): [inputs: Tensor, targets: Tensor] {
  const positions = Array.from({ length: bits }, (_, i) => i)
  return [
    tensor(positions.map((i) => [[(a >> i) & 1, (b >> i) & 1]])),
    tensor(positions.map((i) => [[((a + b) >> i) & 1]])),
  ]
}

/** The states [T + 1, 1, H], the first being zero, and the outputs [T, 1, 1]. */
function forward([w0, wh, w1]: Weights, inputs: Tensor): [states: Tensor, outputs: Tensor] {
  let state = zeros([1, hidden])
  const states = [state]
  for (let t = 0; t < bits; t++) {
    state = inputs.select(0, t).matmul(w0).add(state.matmul(wh)).sigmoid()
    states.push(state)
  }
  const all = stack(states, 0)
  return [all, all.slice(0, 1).matmul(w1).sigmoid()]
}

type Way = (weights: Weights, inputs: Tensor, targets: Tensor) => [...Weights, outputs: Tensor]

/** The gradients of half the squared error, by hand, and the outputs. */
const byHand: Way = (weights, inputs, targets) => {
  return noGrad(() => {
    const [states, outputs] = forward(weights, inputs)
    const [w0, wh, w1] = weights
    const slope = (y: Tensor): Tensor => y.mul(y.neg().add(1))
    let [d0, dh, d1] = [zeros(w0.shape), zeros(wh.shape), zeros(w1.shape)]
    let fromLater = zeros([1, hidden])
    for (let t = bits - 1; t >= 0; t--) {
      const [before, state] = [states.select(0, t), states.select(0, t + 1)]
      const output = outputs.select(0, t)
      const outputDelta = output.sub(targets.select(0, t)).mul(slope(output))
      const stateDelta = fromLater.add(outputDelta.matmul(w1.t())).mul(slope(state))
      d0 = d0.add(inputs.select(0, t).t().matmul(stateDelta))
      dh = dh.add(before.t().matmul(stateDelta))
      d1 = d1.add(state.t().matmul(outputDelta))
      fromLater = stateDelta.matmul(wh.t())
    }
    return [d0, dh, d1, outputs]
  })
}

/** The same by the tape. */
const byTape: Way = (weights, inputs, targets) => {
  const leaf = (weight: Tensor): Tensor => {
    const copy = weight.detach()
    copy.requiresGrad = true
    return copy
  }
  const [w0, wh, w1] = [leaf(weights[0]), leaf(weights[1]), leaf(weights[2])]
  const [, outputs] = forward([w0, wh, w1], inputs)
  const error = outputs.sub(targets).pow(2).sum().mul(0.5)
  error.backward()
  const gradient = (weight: Tensor): Tensor => weight.grad ?? zeros(weight.shape)
  return [gradient(w0), gradient(wh), gradient(w1), outputs.detach()]
}

const difference = (a: Tensor, b: Tensor): Promise<number> => a.sub(b).abs().max().item()

const { epochs: problems, gradient } = options<{ gradient: 'hand' | 'tape' }>(
  'A recurrent network learns to add. An epoch is one problem.',
  { epochs: 10_000 },
  (command) =>
    command.addOption(choice('--gradient <way>', 'by hand or by the tape', ['hand', 'tape'])),
)
const [way, otherWay] = gradient === 'tape' ? [byTape, byHand] : [byHand, byTape]
const uniform = (shape: number[]): Tensor => rand(shape).mul(2).sub(1)
let weights: Weights = [uniform([2, hidden]), uniform([hidden, hidden]), uniform([hidden, 1])]
const half = 2 ** (bits - 1)
const numbers = await rand([problems, 2]).mul(half).data()
const progress = new Progress(problems)
let right = 0
for (let i = 0; i < problems; i++) {
  const [a, b] = [Math.floor(numbers[2 * i] ?? 0), Math.floor(numbers[2 * i + 1] ?? 0)]
  const [inputs, targets] = problem(a, b)
  const [w0, wh, w1] = weights
  const [d0, dh, d1, outputs] = way(weights, inputs, targets)

  const found = [...(await outputs.data())]
  const sum = found.reduce((value, bit, position) => value + (Math.round(bit) << position), 0)
  const error = found.reduce((e, bit, t) => e + Math.abs((((a + b) >> t) & 1) - bit), 0)
  if (i >= problems - 100 && sum === a + b) right++
  progress.step()
  if (i % 1000 === 0 || i === problems - 1) {
    const mark = sum === a + b ? '' : ' (wrong)'
    progress.print(`problem ${i}: error ${error.toFixed(4)}, ${a} + ${b} = ${sum}${mark}`)
    const [e0, eh, e1] = otherWay(weights, inputs, targets)
    const apart = [await difference(d0, e0), await difference(dh, eh), await difference(d1, e1)]
    progress.print(`  by hand and by the tape differ by ${Math.max(...apart).toExponential(1)}`)
  }
  weights = [w0.sub(d0.mul(lr)), wh.sub(dh.mul(lr)), w1.sub(d1.mul(lr))]
}
console.log(`${right} of the last ${Math.min(100, problems)} additions are right`)
