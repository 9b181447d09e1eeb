/**
 * A simple recurrent network that can be calculated by hand, after Hung-yi Lee's lecture: two inputs,
 * two units, two outputs, and every weight is 1. There is nothing to train.
 */
import { nn, ones, stack, type Tensor, tensor, zeros } from 'fused-rnn'
import { options } from './common.js'

options('A simple recurrent network by hand.', { epochs: 1 })
const inputs = [
  [1, 1],
  [1, 1],
  [2, 2],
]
const weight = ones([2, 2])

/** The network written out; returns what comes out at every step, [3, 2]. */
function byHand(activation: (x: Tensor) => Tensor): Tensor {
  let memory = zeros([1, 2])
  const outputs: Tensor[] = []
  for (const input of inputs) {
    memory = activation(tensor([input]).matmul(weight).add(memory.matmul(weight)))
    outputs.push(memory.matmul(weight).reshape([2]))
  }
  return stack(outputs, 0)
}

/** The same with nn.RNNCell, step by step. */
function withCell(): Tensor {
  const cell = new nn.RNNCell(2, 2, { bias: false })
  const output = new nn.Linear(2, 2, { bias: false })
  for (const parameter of [...cell.parameters(), ...output.parameters()]) nn.init.ones(parameter)
  let memory: Tensor | null = null
  const outputs: Tensor[] = []
  for (const input of inputs) {
    memory = cell.forward(tensor([input]), memory)
    outputs.push(output.forward(memory).reshape([2]))
  }
  return stack(outputs, 0)
}

/** The same with nn.RNN, all steps at once. */
function withLayer(): Tensor {
  const layer = new nn.RNN(2, 2, { bias: false })
  const output = new nn.Linear(2, 2, { bias: false })
  for (const parameter of [...layer.parameters(), ...output.parameters()]) nn.init.ones(parameter)
  const [memories] = layer.forward(tensor(inputs))
  return output.forward(memories)
}

async function show(title: string, outputs: Tensor): Promise<void> {
  console.log(title)
  const values = await outputs.data()
  for (let step = 0; step < inputs.length; step++)
    console.log(`  ${inputs[step]} → ${values[2 * step]} ${values[2 * step + 1]}`)
}

await show(
  'by hand, without activation',
  byHand((x) => x),
)
await show(
  'by hand, tanh',
  byHand((x) => x.tanh()),
)
await show('nn.RNNCell', withCell())
await show('nn.RNN', withLayer())
