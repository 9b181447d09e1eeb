/** Values that backward needs and that were changed in place since: an error, as in PyTorch. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { nn, ones, optim, randn, type Tensor, tensor } from 'fused-rnn'
import { closeTo, throwsWith } from './helpers.js'

const leaf = (shape: number[]): Tensor => randn(shape, { requiresGrad: true })
const changed = (operation: string, shape: string, by: string): RegExp =>
  new RegExp(
    `^\\[backward\\] '${operation}' needs the values of a tensor of shape \\(${shape}\\) .* ${by.replace('.', '\\.')} has changed them in place since\\. Call backward\\(\\) before`,
  )

/** What changes a tensor in place, under the name that the error gives. */
const WAYS: Record<string, (x: Tensor) => unknown> = {
  constant: (x) => nn.init.zeros(x),
  uniform: (x) => nn.init.uniform(x),
  kaimingNormal: (x) => nn.init.kaimingNormal(x),
  loadStateDict: (x) => {
    const layer = new nn.Linear(3, 2, { bias: false })
    layer.weight = nn.Parameter(x)
    layer.loadStateDict(new Map([['weight', ones([2, 3])]]))
  },
  zeroGrad: (x) => {
    const holder = leaf([2, 3])
    holder.grad = x
    new optim.SGD([holder], { lr: 1 }).zeroGrad({ setToNone: false })
  },
  clipGradNorm: (x) => {
    const holder = leaf([2, 3])
    holder.grad = x
    nn.utils.clipGradNorm(holder, 1)
  },
  clipGradValue: (x) => {
    const holder = leaf([2, 3])
    holder.grad = x
    nn.utils.clipGradValue(holder, 1)
  },
  backward: (x) => {
    const holder = leaf([2, 3])
    holder.grad = x
    holder.sum().backward()
  },
}

for (const [name, change] of Object.entries(WAYS)) {
  test(`${name} between forward and backward`, (t) => {
    const a = leaf([2, 3])
    const b = randn([2, 3])
    const y = a.mul(b).sum()
    change(b)
    throwsWith(t, () => y.backward(), Error, changed('mul', '2, 3', name))
  })
}

for (const Kind of [optim.SGD, optim.Adam, optim.AdamW]) {
  test(`${Kind.name}.step between forward and backward`, async (t) => {
    const layer = new nn.Linear(3, 2)
    const optimizer = new Kind(layer.parameters(), { lr: 0.1 })
    const x = leaf([4, 3])
    const first = layer.forward(x).sum()
    const second = layer.forward(x).sum()
    first.backward()
    await optimizer.step()
    throwsWith(t, () => second.backward(), Error, changed('linear', '2, 3', `${Kind.name}.step`))
    // What is computed afterwards has the new values.
    layer.forward(x).sum().backward()
  })
}

test('a recurrent layer needs its weights as they were', async (t) => {
  const layer = new nn.GRU(3, 4)
  const optimizer = new optim.SGD(layer.parameters(), { lr: 0.1 })
  const run = (): Tensor => layer.forward(randn([5, 2, 3]))[0].sum()
  const [first, second] = [run(), run()]
  first.backward()
  await optimizer.step()
  throwsWith(
    t,
    () => second.backward(),
    Error,
    /^\[backward\] 'rnn' needs .* SGD\.step has changed/,
  )
})

test('a change through a view, a slice or another handle counts', (t) => {
  const a = leaf([2, 3])
  for (const part of [
    (x: Tensor) => x.reshape([3, 2]),
    (x: Tensor) => x.detach(),
    (x: Tensor) => x.slice(0, 1, 2),
  ]) {
    const b = randn([2, 3])
    const y = a.mul(b).sum()
    nn.init.ones(part(b))
    throwsWith(t, () => y.backward(), Error, /needs the values .* constant has changed/)
  }
  const whole = randn([2, 3])
  const y = ones([1, 3])
    .mul(leaf([1, 3]))
    .mul(whole.slice(0, 0, 1))
    .sum()
  nn.init.ones(whole)
  throwsWith(t, () => y.backward(), Error, /constant has changed/)
})

test('an output that backward needs', (t) => {
  const y = leaf([3]).exp()
  nn.init.zeros(y)
  throwsWith(t, () => y.sum().backward(), Error, changed('exp', '3,', 'constant'))
})

test('changes that nobody needs are none: copies, other memory, operations that save nothing', async (t) => {
  const a = leaf([2])
  const b = tensor([2, 3])
  const y = a.mul(b.clone()).add(b).sum()
  nn.init.zeros(b)
  y.backward()
  await closeTo(t, a.grad, [2, 3], 0)
  // Neighbours in one native block are memory of their own.
  const [first, second] = new nn.GRU(3, 4).parameters() as [Tensor, Tensor]
  const z = first.mul(first).sum()
  nn.init.zeros(second)
  z.backward()
  t.not(first.grad, null)
  // A change before the forward pass.
  nn.init.ones(b)
  a.mul(b).sum().backward()
  await closeTo(t, a.grad, [3, 4], 0)
})

test('sources change values in place only where the tape is told', (t) => {
  const root = join(dirname(fileURLToPath(import.meta.url)), '../ts')
  const calls = /binding\.(fillInto|copyInto|randomInto|addInto|clipGrads|endAverage)\(/
  for (const file of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue
    const source = readFileSync(join(root, file), 'utf8')
    if (calls.test(source)) t.true(source.includes('.changed('), `${file}: use ts/ops/in_place.ts`)
  }
})
