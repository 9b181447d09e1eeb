/**
 * Recurrent layers alone on a GPU, forward and both passes, in µs per time step: the figures of
 * docs/persistent.md. `PRECISION=ieee` for products in float32; FUSED_RNN_CUDA_PATH chooses a path;
 * layers.py is PyTorch's side.
 *
 *   node dist-bench/gpu/layers.js
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { backends, nn, noGrad, randn, type Tensor } from 'fused-rnn'

type Shape = ['RNN' | 'GRU' | 'LSTM', number, number, number, number, boolean]

const file = join(import.meta.dirname, '../../bench/gpu/layers.json')
const shapes = JSON.parse(readFileSync(file, 'utf8')) as Shape[]
const precision = process.env.PRECISION === 'ieee' ? 'ieee' : 'tf32'
backends.cuda.rnn.fp32Precision = precision
backends.cuda.matmul.fp32Precision = precision
const device = 'cuda:0'
const CALLS = 20

/** The median of five rounds, in µs a call. */
async function time(call: () => Tensor): Promise<number> {
  for (let i = 0; i < 8; i++) await call().sum().item()
  const rounds: number[] = []
  for (let round = 0; round < 5; round++) {
    const begin = performance.now()
    let last = call()
    for (let i = 1; i < CALLS; i++) last = call()
    await last.sum().item()
    rounds.push(((performance.now() - begin) / CALLS) * 1000)
  }
  return rounds.sort((a, b) => a - b)[2] as number
}

for (const [cell, hidden, batch, steps, numLayers, bidirectional] of shapes) {
  const rnn: nn.RecurrentLayer = new nn[cell](hidden, hidden, { numLayers, bidirectional })
  rnn.to(device)
  const x = randn([steps, batch, hidden], { device })
  const gradient = randn([steps, batch, hidden * (bidirectional ? 2 : 1)], { device })
  const forward = await time(() => noGrad(() => rnn.forward(x)[0]))
  const both = await time(() => {
    for (const parameter of rnn.parameters()) parameter.grad = null
    const [y] = rnn.forward(x)
    y.backward(gradient)
    return y
  })
  console.log(
    `${cell} ${hidden}, batch ${batch}, ${steps} steps, ${numLayers} layer(s)` +
      `${bidirectional ? ', both directions' : ''}: ` +
      `forward ${(forward / steps).toFixed(2)}, both passes ${(both / steps).toFixed(2)}`,
  )
}
