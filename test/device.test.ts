/** Devices: what there is, and tensors that go from one to another. */
import test, { type ExecutionContext } from 'ava'
import {
  backends,
  cat,
  device,
  devices,
  full,
  getDefaultDevice,
  memoryStats,
  models,
  nn,
  ones,
  rand,
  setDefaultDevice,
  stack,
  synchronize,
  type Tensor,
  tensor,
  uniform,
  zeros,
} from 'fused-rnn'
import {
  closeTo,
  emulated,
  onCpu,
  rejectsWith,
  runScript,
  testDevice,
  throwsWith,
} from './helpers.js'

/** What needs a GPU beside the CPU. */
const gpuTest = onCpu ? test.serial.skip : test.serial
const gpu = testDevice

// ---- What there is ---------------------------------------------------------------------------------

test('devices: the CPU first, then the GPUs with their memory', (t) => {
  const [cpu, ...gpus] = devices()
  t.is(cpu?.name, 'cpu')
  t.regex(String(cpu?.description), /^\w+, \d+ threads?$/)
  gpus.forEach((info, i) => {
    t.is(info.name, `cuda:${i}`)
    t.true(info.description.length > 0)
    t.true((info.memoryBytes as number) > 2 ** 20)
    t.is(info.computeCapability?.length, 2)
  })
  if (!onCpu) t.true(gpus.length > 0)
})

test('device: names, and the same object back', (t) => {
  t.is(device('cpu').toString(), 'cpu')
  t.is(device(device('cpu')).type, 'cpu')
  if (!onCpu) t.is(device('cuda').toString(), 'cuda:0')
  const wrong: unknown[] = ['cuda:', 'cuda:-1', 'cuda:x', 'CPU', 'gpu', '', 0, null, {}]
  for (const name of wrong) {
    throwsWith(
      t,
      () => device(name as string),
      TypeError,
      /\[device\] name: expected 'cpu', 'cuda'/,
    )
  }
  throwsWith(t, () => device('cuda:99'), RangeError, /\[device\] name: expected 'cpu'.*'cuda:99': /)
})

for (const [env, why] of [
  [{ FUSED_RNN_CUDA_HOST_CAPABILITY: '75' }, 'it has compute capability 7.5, needs at least 8.0'],
  [{ FUSED_RNN_CUDA_HOST_NO_POOLS: '1' }, 'it has no memory pools (cudaMallocAsync)'],
  [{ FUSED_RNN_CUDA_HOST_MEMORY: '1' }, 'cudaMalloc: out of memory'],
] as [Record<string, string>, string][]) {
  const run = emulated ? test : test.skip
  run(`a GPU that cannot be used: ${why}`, async (t) => {
    const { code, stderr } = await runScript(
      `import { devices, ones } from 'fused-rnn'
      console.log(devices()[1].name)
      ones([1], { device: 'cuda:0' })`,
      { env },
    )
    t.is(code, 1, stderr)
    t.true(stderr.includes(why), stderr)
  })
}

;(emulated ? test : test.skip)('a GPU with more memory than the machine may use it', async (t) => {
  const { stdout } = await runScript(
    `import { zeros } from 'fused-rnn'
    try { zeros([2 ** 49]) } catch (error) { console.log(error.message) }`,
    { env: { FUSED_RNN_CUDA_HOST_MEMORY: String(2 ** 50) } },
  )
  t.true(stdout.includes(`fits this machine's memory (${2 ** 50} bytes)`), stdout)
})

test.serial('setDefaultDevice: where everything is made that names no device', (t) => {
  const before = getDefaultDevice()
  t.is(before.toString(), testDevice)
  setDefaultDevice('cpu')
  try {
    t.is(getDefaultDevice().toString(), 'cpu')
    for (const one of [zeros([2]), ones([2]), rand([2]), tensor([1]), uniform([2], 0, 1)])
      t.is(one.device, 'cpu')
    t.is(new nn.LSTM(2, 3).weight_ih_l0?.device, 'cpu')
    throwsWith(t, () => setDefaultDevice('cuda:99'), RangeError, /\[setDefaultDevice\] device/)
    t.is(getDefaultDevice().toString(), 'cpu')
  } finally {
    setDefaultDevice(before)
  }
  t.is(zeros([1]).device, testDevice)
  t.is(full([2], 3, { dtype: 'int32' }).device, testDevice)
})

test('layers take a device', (t) => {
  const made = [
    new nn.Linear(2, 3, { device: 'cpu' }),
    new nn.Embedding(2, 3, { device: 'cpu' }),
    new nn.GRU(2, 3, { device: 'cpu', bidirectional: true }),
    new nn.RNNCell(2, 3, { device: 'cpu' }),
    new models.LanguageModel({ vocabSize: 5, hiddenSize: 4, embeddingSize: 4, device: 'cpu' }),
  ]
  for (const module of made) for (const p of module.parameters()) t.is(p.device, 'cpu')
  throwsWith(t, () => new nn.Linear(2, 3, { device: 'cuda:99' }), RangeError, /\[Linear\] device/)
  throwsWith(t, () => new nn.LSTM(2, 3, { device: 'x' }), TypeError, /\[LSTM\] device/)
})

test('precision of products: names, and what is wrong', (t) => {
  t.is(backends.cuda.matmul.fp32Precision, 'ieee')
  throwsWith(
    t,
    () => {
      backends.cuda.matmul.fp32Precision = 'fp8' as 'tf32'
    },
    TypeError,
    /\[backends\.cuda\.matmul\] fp32Precision: expected one of 'ieee', 'tf32', 'bf16', got 'fp8'/,
  )
})

test('memory: what tensors take, and the most that they took', async (t) => {
  // Other tests run beside this one.
  const { code, stderr } = await runScript(`
    import { memoryStats, ones, synchronize } from 'fused-rnn'
    await synchronize()
    const before = memoryStats()
    const large = ones([1 << 20])
    await synchronize()
    const { allocated, buffers } = memoryStats()
    if (allocated - before.allocated < 2 ** 22) throw new Error(before.allocated + ', then ' + allocated)
    if (buffers !== before.buffers + 1) throw new Error(before.buffers + ', then ' + buffers)
    if (memoryStats('cpu').peak < memoryStats('cpu').allocated) throw new Error('peak')
    large[Symbol.dispose]()
    await synchronize()
    if (memoryStats().allocated !== before.allocated) throw new Error('not given back')`)
  t.is(code, 0, stderr)
  throwsWith(t, () => memoryStats('cuda:99'), RangeError, /\[memoryStats\] on/)
})

// ---- Transfers -------------------------------------------------------------------------------------

gpuTest('to: values there and back, of any size and type', async (t) => {
  // deepEqual looks at millions of numbers one by one.
  const same = async (x: Tensor, values: Float32Array): Promise<void> => {
    const { buffer } = (await x.data()) as Float32Array
    t.true(Buffer.from(buffer).equals(Buffer.from(values.buffer)), `${values.length} numbers`)
  }
  for (const n of [0, 1, 5, 1000, 300_000, 3_000_000]) {
    const values = Float32Array.from({ length: n }, (_, i) => i % 1000)
    const host = tensor(values, { device: 'cpu' })
    const there = host.to(gpu)
    t.is(there.device, gpu)
    t.is(host.device, 'cpu')
    await same(there, values)
    const back = there.to('cpu')
    t.is(back.device, 'cpu')
    await same(back.add(0), values)
  }
  const whole = tensor(Int32Array.of(1, -2, 3), { shape: [3, 1], device: 'cpu' }).to(gpu)
  t.is(whole.dtype, 'int32')
  t.deepEqual(whole.shape, [3, 1])
  t.deepEqual(await whole.to('cpu').data(), Int32Array.of(1, -2, 3))
  t.regex(String(whole), /device=cuda:0/)
})

gpuTest('to: in the order of both queues, while both are busy', async (t) => {
  const big = ones([500_000], { device: 'cpu' })
  let x = zeros([500_000], { device: gpu })
  for (let i = 0; i < 10; i++) {
    for (let k = 0; k < 3; k++) big.add(1)[Symbol.dispose]()
    const y = x.to('cpu').add(big) // on the CPU, after what the GPU does
    x = y.to(gpu).add(1)
  }
  t.deepEqual(new Set(await x.data()), new Set([20]))
})

gpuTest('to: what changes afterwards does not show', async (t) => {
  const host = tensor([1, 2], { device: 'cpu' })
  const there = host.to(gpu)
  nn.init.constant(host, 7)
  t.deepEqual(await there.data(), Float32Array.of(1, 2))
  const back = there.to('cpu')
  nn.init.constant(there, 8)
  t.deepEqual(await back.data(), Float32Array.of(1, 2))
})

gpuTest('to: the gradient goes back to where the tensor was', async (t) => {
  const x = tensor([1, 2, 3], { device: 'cpu', requiresGrad: true })
  const y = x.mul(2).to(gpu)
  y.mul(y).sum().to('cpu').backward()
  t.is(x.grad?.device, 'cpu')
  await closeTo(t, x.grad, [8, 16, 24], 0)
})

gpuTest('to: what failed on one device has failed on the other', async (t) => {
  for (const [from, into] of [
    ['cpu', gpu],
    [gpu, 'cpu'],
  ] as const) {
    const bad = tensor(Int32Array.of(9), { device: from })
    const failed = new nn.Embedding(3, 2, { device: from }).forward(bad)
    const moved = failed.to(into)
    const dependent = moved.add(1)
    await rejectsWith(t, synchronize(from), Error, /^\[nn\.Embedding\(\d+, \d+\)\]/)
    await rejectsWith(t, dependent.data(), Error, /^\[nn\.Embedding\(\d+, \d+\)\].*9/)
    await rejectsWith(t, moved.data(), Error, /^\[nn\.Embedding\(\d+, \d+\)\].*9/)
    t.is(await tensor(1, { device: into }).item(), 1)
    t.is(await tensor(1, { device: from }).item(), 1)
  }
})

gpuTest('faults: several in one go, each with its own message', async (t) => {
  const layer = new nn.Embedding(3, 2)
  const [seven, two, eight] = [7, 2, 8].map((i) => tensor(Int32Array.of(i))) as [
    Tensor,
    Tensor,
    Tensor,
  ]
  await synchronize()
  const first = layer.forward(seven)
  const fine = layer.forward(two)
  const second = layer.forward(eight)
  const both = first.add(second)
  await rejectsWith(t, synchronize(), Error, /got 7/)
  await rejectsWith(t, second.data(), Error, /got 8/)
  await rejectsWith(t, first.data(), Error, /got 7/)
  await rejectsWith(t, both.data(), Error, /got 7/)
  t.is((await fine.data()).length, 2)
  await synchronize()
})

// ---- Operations on several devices -----------------------------------------------------------------

gpuTest('operations on tensors of two devices are errors that name both', (t) => {
  const a = ones([2, 2])
  const b = ones([2, 2], { device: 'cpu' })
  const index = tensor(Int32Array.of(0, 1), { device: 'cpu' })
  const lstm = new nn.LSTM(2, 2)
  const step = [ones([1, 1, 2]), ones([1, 1, 2], { device: 'cpu' })] as const
  const calls: [string, () => unknown][] = [
    ['add', () => a.add(b)],
    ['mul', () => a.mul(b)],
    ['matmul', () => a.matmul(b)],
    ['cat', () => cat([a, b], 0)],
    ['stack', () => stack([a, b])],
    ['indexSelect', () => a.indexSelect(0, index)],
    ['linear', () => new nn.Linear(2, 2).forward(b)],
    ['embedding', () => new nn.Embedding(2, 2).forward(index)],
    ['crossEntropy', () => nn.functional.crossEntropy(a, index)],
    ['mseLoss', () => nn.functional.mseLoss(a, b)],
    ['LSTM.forward', () => lstm.forward(ones([1, 1, 2], { device: 'cpu' }))],
    ['LSTM.forward', () => lstm.forward(step[0], [step[0], step[1]])],
    ['GRUCell.forward', () => new nn.GRUCell(2, 2).forward(b)],
    ['GRUCell.forward', () => new nn.GRUCell(2, 2).forward(a, b)],
    [
      'backward',
      () =>
        a
          .detach()
          .add(ones([2, 2], { requiresGrad: true }))
          .backward(b),
    ],
    [
      'Tensor',
      () => {
        a.grad = b
      },
    ],
  ]
  for (const [fn, call] of calls) {
    throwsWith(t, call, RangeError, /expected a tensor on (cpu|cuda:0), got one on (cpu|cuda:0)$/)
    throwsWith(t, call, RangeError, new RegExp(`^\\[${fn.replace('.', '\\.')}\\] `))
  }
})

// ---- Memory ----------------------------------------------------------------------------------------

async function passes(
  t: ExecutionContext,
  body: string,
  env: Record<string, string> = {},
): Promise<void> {
  const { code, stderr } = await runScript(
    `import { memoryStats, ones, synchronize, zeros } from 'fused-rnn'
    function assert(condition, message) { if (!condition) throw new Error(message) }
    ${body}`,
    { env },
  )
  t.is(code, 0, stderr)
}

// A GPU is shared with the tests that run beside this one, and even a request that it refuses takes
// all of its memory for a moment: there it runs when asked for, alone (bench/gpu/run.sh).
const fillsGpu = emulated || process.env.FUSED_RNN_TEST_FILL === '1' ? gpuTest : test.skip

fillsGpu('out of memory is an error with sizes, and the device goes on', async (t) => {
  await passes(
    t,
    `const { devices } = await import('fused-rnn')
    const { memoryBytes } = devices().find(({ name }) => name === '${gpu}')
    const kept = ones([1000])
    const quarter = Math.floor(memoryBytes / 16)
    // Of a GPU the first part is too large, as something of its memory is always in use.
    const size = ${emulated} ? quarter : Math.floor(memoryBytes / 4)
    const parts = []
    let failed = null
    for (let i = 0; i < 4 && failed === null; i++) {
      parts.push(zeros([size]))
      await synchronize().catch((error) => { failed = error })
    }
    const message = /^\\[fill\\] out of memory on ${gpu}: could not allocate \\d+ bytes \\(\\d+ free of \\d+/
    assert(message.test(failed?.message), String(failed))
    await parts.at(-1).data().then(() => assert(false, 'has values'), () => {})
    for (const part of parts) part[Symbol.dispose]()
    await synchronize()
    assert((await kept.add(1).data()).every((x) => x === 2), 'works on')
    assert((await zeros([${emulated} ? quarter : 1000]).sum().item()) === 0, 'and has memory')`,
    { FUSED_RNN_CUDA_HOST_MEMORY: String(2 ** 25) },
  )
})

gpuTest('dropped tensors of a GPU are collected', async (t) => {
  await passes(
    t,
    `for (let step = 0; step < 300; step++) {
      ones([2 ** 20])
      if (step % 10 === 9) await synchronize()
    }
    assert(memoryStats().peak < 1000 * 2 ** 20, 'peak ' + memoryStats().peak)`,
  )
})
