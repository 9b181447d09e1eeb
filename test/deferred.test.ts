/**
 * Deferred values: one-hot rows before a recurrent layer are used as indices, the gradient of a cross
 * entropy before a linear layer as what it follows from. They are stored only when their values are
 * read, and the results are those of stored values.
 */
import test from 'ava'
import { manualSeed, nn, randn, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, onCpu, runScript } from './helpers.js'

const indices = (count: number, below: number): Int32Array =>
  Int32Array.from({ length: count }, (_, i) => (i * 7919 + ((i * i) % 13)) % below)

// Few rows are looked up in the weights themselves, many in a transposed copy of them.
for (const [what, classes, steps, batch] of [
  ['few rows', 61, 3, 2],
  ['many rows', 29, 9, 11],
] as const) {
  for (const Kind of [nn.RNN, nn.GRU, nn.LSTM]) {
    test(`one-hot rows, ${what}: ${Kind.name} as with the values`, async (t) => {
      manualSeed(3)
      const layer = new Kind(classes, 21, { numLayers: 2, bidirectional: true })
      const x = nn.functional.oneHot(
        tensor(indices(steps * batch, classes), { shape: [steps, batch] }),
        classes,
      )
      const run = async (input: Tensor): Promise<(Float32Array | Int32Array)[]> => {
        layer.zeroGrad()
        // The layers differ in their states only.
        const [y] = (layer as nn.GRU).forward(input)
        y.mul(y).sum().backward()
        const all = [y, ...layer.parameters().map((p) => p.grad as Tensor)]
        return Promise.all(all.map((value) => value.data()))
      }
      const looked = await run(x)
      const plain = await run(x.clone())
      for (const [i, values] of looked.entries()) {
        await closeTo(t, values, plain[i] as Float32Array, 1e-5, `result ${i}`)
      }
      const sum = await x.sum(2).data()
      t.true(sum.every((value) => value === 1))
      const again = await run(x)
      for (const [i, values] of again.entries()) {
        await closeTo(t, values, plain[i] as Float32Array, 1e-6, `after it was read: result ${i}`)
      }
    })
  }
}

test('one-hot rows that want a gradient get one', async (t) => {
  const layer = new nn.GRU(5, 4)
  const x = nn.functional.oneHot(tensor(indices(6, 5), { shape: [3, 2] }), 5)
  x.requiresGrad = true
  layer.forward(x)[0].sum().backward()
  t.deepEqual((x.grad as Tensor).shape, [3, 2, 5])
  t.true((await (x.grad as Tensor).data()).some((value) => value !== 0))
})

test('one-hot rows are there when the indices have been disposed', async (t) => {
  const index = tensor(Int32Array.of(1, 0, 2))
  const rows = nn.functional.oneHot(index, 3)
  index[Symbol.dispose]()
  t.deepEqual([...(await rows.data())], [0, 1, 0, 1, 0, 0, 0, 0, 1])
})

const options = [
  {},
  { reduction: 'sum' },
  { reduction: 'none' },
  { labelSmoothing: 0.2, ignoreIndex: 3 },
] as const

// Below and above the sizes of the kernel's tiles.
for (const [rows, inputs, classes] of [
  [5, 7, 11],
  [203, 37, 1111],
] as const) {
  for (const option of options) {
    test(`cross entropy over a linear layer, ${rows} × ${inputs} × ${classes}, ${JSON.stringify(option)}`, async (t) => {
      manualSeed(5)
      const layer = new nn.Linear(inputs, classes)
      const x = randn([rows, inputs])
      x.requiresGrad = true
      const target = tensor(indices(rows, classes))
      const criterion = new nn.CrossEntropyLoss(option)
      const run = async (logits: (y: Tensor) => Tensor): Promise<(Float32Array | Int32Array)[]> => {
        layer.zeroGrad()
        x.grad = null
        const loss = criterion.forward(logits(layer.forward(x)), target)
        loss.mul(0.37).sum().backward()
        const all = [x.grad, layer.weight.grad, layer.bias?.grad] as unknown as Tensor[]
        return Promise.all([loss, ...all].map((value) => value.data()))
      }
      // An operation in between, so that the gradient has to be written down.
      const plain = await run((y) => y.mul(1))
      for (const [how, logits] of [
        ['directly', (y: Tensor) => y],
        ['through reshape', (y: Tensor) => y.reshape([1, rows, classes]).reshape([rows, classes])],
      ] as const) {
        const fused = await run(logits)
        for (const [i, values] of fused.entries()) {
          await closeTo(t, values, plain[i] as Float32Array, 2e-5, `${how}: result ${i}`)
        }
      }
    })
  }
}

// A GPU's backward stores the gradient of the logits first.
const onlyOnCpu = onCpu ? test : test.skip

// The most memory in use tells whether the gradient of the logits was ever stored: it is as large as
// the logits, and everything else is small.
for (const [how, between, most, least] of [
  ['directly', 'y', 1.5, 1],
  ['through reshape', 'y.reshape([1, rows, classes]).reshape([rows, classes])', 1.5, 1],
  ['through unsqueeze', 'y.unsqueeze(0).squeeze(0)', 1.5, 1],
  ['not with an operation in between', 'y.mul(1)', 5, 2.5],
] as const) {
  onlyOnCpu(`cross entropy and the linear layer before it are fused: ${how}`, async (t) => {
    const { code, stdout, stderr } = await runScript(`
      import { memoryStats, nn, randn, synchronize, zeros } from 'fused-rnn'
      const [rows, inputs, classes] = [256, 8, 2 ** 14]
      const layer = new nn.Linear(inputs, classes)
      const x = randn([rows, inputs])
      const target = zeros([rows], { dtype: 'int32' })
      await synchronize()
      const before = memoryStats().allocated
      const y = layer.forward(x)
      nn.functional.crossEntropy(${between}, target).backward()
      await synchronize()
      console.log((memoryStats().peak - before) / (4 * rows * classes))`)
    t.is(code, 0, stderr)
    const logits = Number(stdout)
    t.true(logits >= least && logits <= most, `${logits} times the memory of the logits`)
  })
}

test('logits with another use, and a graph gone through twice', async (t) => {
  manualSeed(6)
  const layer = new nn.Linear(6, 9)
  const x = randn([4, 6])
  const target = zeros([4], { dtype: 'int32' })
  const loss = (y: Tensor): Tensor => nn.functional.crossEntropy(y, target).add(y.mul(y).sum())
  const gradient = async (f: () => void): Promise<Float32Array | Int32Array> => {
    layer.zeroGrad()
    f()
    return (layer.weight.grad as Tensor).data()
  }
  const once = await gradient(() => loss(layer.forward(x)).backward())
  const plain = await gradient(() => loss(layer.forward(x).mul(1)).backward())
  await closeTo(t, once, plain, 1e-5, 'two uses')
  const twice = await gradient(() => {
    const value = nn.functional.crossEntropy(layer.forward(x), target)
    value.backward(undefined, { retainGraph: true })
    value.backward()
  })
  const single = await gradient(() =>
    nn.functional.crossEntropy(layer.forward(x), target).backward(),
  )
  await closeTo(t, twice, single.map((value) => 2 * value) as Float32Array, 1e-5, 'twice')
})

test('a reshape between the linear layer and the loss that changes the classes', async (t) => {
  manualSeed(7)
  const layer = new nn.Linear(5, 6)
  const x = randn([4, 5])
  for (const [rows, classes] of [
    [8, 3],
    [2, 12],
  ] as const) {
    const target = tensor(indices(rows, classes))
    const gradients = async (logits: (y: Tensor) => Tensor): Promise<Tensor[]> => {
      layer.zeroGrad()
      const y = logits(layer.forward(x)).reshape([rows, classes])
      nn.functional.crossEntropy(y, target).backward()
      return [layer.weight.grad, layer.bias?.grad] as Tensor[]
    }
    const fused = await Promise.all((await gradients((y) => y)).map((g) => g.data()))
    const plain = await Promise.all((await gradients((y) => y.mul(1))).map((g) => g.data()))
    await closeTo(t, fused[0] as Float32Array, plain[0] as Float32Array, 1e-6, 'weight')
    await closeTo(t, fused[1] as Float32Array, plain[1] as Float32Array, 1e-6, 'bias')
  }
})

test('a loss over no rows leaves gradients of zeros', async (t) => {
  const layer = new nn.Linear(3, 4)
  const used = new nn.Linear(3, 4)
  used
    .forward(randn([2, 3]))
    .sum()
    .backward()
  used.zeroGrad() // its memory is the next to be handed out
  const target = zeros([0], { dtype: 'int32' })
  nn.functional.crossEntropy(layer.forward(zeros([0, 3])), target, { reduction: 'sum' }).backward()
  await closeTo(t, layer.weight.grad, new Float32Array(12), 0, 'weight')
  await closeTo(t, layer.bias?.grad, new Float32Array(4), 0, 'bias')
})
