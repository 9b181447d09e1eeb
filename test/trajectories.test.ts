/**
 * Ten clipped optimiser steps for each optimiser and cell against PyTorch
 * (fixtures/make_trajectories.py): losses, gradient norms and final parameters.
 */
import test from 'ava'
import { nn, optim, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, fixture, rejectsWith } from './helpers.js'

const file = fixture('trajectories')
const { V, E, H, T, N, steps } = file.info as Record<string, number> as {
  [K in 'V' | 'E' | 'H' | 'T' | 'N' | 'steps']: number
}

interface TrajectoryCase {
  name: string
  kind: 'RNN' | 'GRU' | 'LSTM'
  optimiser: 'SGD' | 'Adam' | 'AdamW'
  options: Record<string, number | boolean | number[]>
  clip: 'norm' | 'value'
  limit: number
}

class Model extends nn.Module {
  embedding = new nn.Embedding(V, E)
  rnn: nn.RNN | nn.GRU | nn.LSTM
  head = new nn.Linear(H, V)

  constructor(kind: TrajectoryCase['kind']) {
    super()
    this.rnn = new nn[kind](E, H)
  }

  forward(tokens: Tensor): Tensor {
    // The three layers return different states; the output is the same kind.
    const [output] = (this.rnn as nn.GRU).forward(this.embedding.forward(tokens))
    return this.head.forward(output).reshape([T * N, V])
  }
}

const camelCase = (name: string): string => name.replace(/_(.)/g, (_, c: string) => c.toUpperCase())

for (const c of file.info.cases as TrajectoryCase[]) {
  for (const fused of [false, true]) {
    test(`${c.name}${fused ? ', clipping fused with the update' : ''}`, async (t) => {
      const model = new Model(c.kind)
      model.loadStateDict(file.tensors(`start_${c.kind}`))
      const options = Object.fromEntries(
        Object.entries(c.options).map(([key, value]) => [camelCase(key), value]),
      )
      if (fused) options[c.clip === 'norm' ? 'maxGradNorm' : 'maxGradValue'] = c.limit
      const optimizer = new optim[c.optimiser](model.parameters(), options as { lr: number })
      const criterion = new nn.CrossEntropyLoss()
      const tokens = file.tensor('tokens')
      const targets = file.tensor('targets')
      const losses: number[] = []
      const norms: number[] = []
      for (let step = 0; step < steps; step++) {
        const batch = step % 2
        optimizer.zeroGrad()
        const logits = model.forward(tokens.slice(0, batch, batch + 1).reshape([T, N]))
        const target = targets.slice(0, batch, batch + 1).reshape([T * N])
        const loss = criterion.forward(logits, target)
        loss.backward()
        if (!fused && c.clip === 'norm') {
          norms.push(await nn.utils.clipGradNorm(model.parameters(), c.limit).item())
        }
        if (!fused && c.clip === 'value') nn.utils.clipGradValue(model.parameters(), c.limit)
        await optimizer.step()
        losses.push(await loss.item())
      }
      await closeTo(t, losses, file.array(`${c.name}.losses`).data, 2e-5, 'losses')
      if (norms.length > 0) {
        await closeTo(t, norms, file.array(`${c.name}.norms`).data, 1e-4, 'gradient norms')
      }
      for (const [name, parameter] of model.namedParameters()) {
        await closeTo(t, parameter, file.array(`${c.name}.end.${name}`), 1e-4, name)
      }
    })
  }
}

test.serial(
  'a batch that fails leaves the parameters as they were, and training goes on',
  async (t) => {
    const model = new Model('GRU')
    const optimizer = new optim.Adam(model.parameters(), { lr: 0.01, maxGradNorm: 1 })
    const criterion = new nn.CrossEntropyLoss()
    const before = await Promise.all(model.parameters().map((p) => p.data()))
    const step = async (tokens: Tensor): Promise<number> => {
      optimizer.zeroGrad()
      const loss = criterion.forward(model.forward(tokens), zeros([T * N], { dtype: 'int32' }))
      loss.backward()
      await optimizer.step()
      return loss.item()
    }
    const bad = tensor(new Int32Array(T * N).fill(V), { shape: [T, N] })
    await rejectsWith(t, step(bad), Error, /^\[nn\.Embedding\(\d+, \d+\)\]/)
    t.deepEqual(await Promise.all(model.parameters().map((p) => p.data())), before)
    const first = await step(zeros([T, N], { dtype: 'int32' }))
    const second = await step(zeros([T, N], { dtype: 'int32' }))
    t.true(second < first)
  },
)
