import test from 'ava'
import { nn, optim, synchronize, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, fixture, rejectsWith, throwsWith } from './helpers.js'

const numbers = fixture('optim')
const STEPS = 10

interface Case {
  name: 'SGD' | 'Adam' | 'AdamW'
  options: Record<string, unknown>
  clip: { norm?: number; value?: number }
}

const start = () => ({
  w: numbers.tensor('start.w', { requiresGrad: true }),
  b: numbers.tensor('start.b', { requiresGrad: true }),
})
type Parameters = ReturnType<typeof start>

function setGradients(params: Parameters, step: number): void {
  for (const [key, param] of Object.entries(params)) {
    const { data } = numbers.array(`grads.${key}`)
    const values = data.slice(step * param.numel, (step + 1) * param.numel)
    param.grad = key === 'b' && step === 4 ? null : tensor(values, { shape: param.shape })
  }
}

function expectedAt(key: string, step: number, numel: number): ArrayLike<number> {
  return numbers.array(key).data.slice(step * numel, (step + 1) * numel)
}

numbers.info.cases.forEach(({ name, options, clip }: Case, i: number) => {
  const title = `${name} ${JSON.stringify(options)} ${JSON.stringify(clip)}`
  const make = (params: Parameters, more = {}) =>
    new optim[name](Object.values(params), { ...options, ...more })

  test(`ten steps as PyTorch: ${title}`, async (t) => {
    const fused = start()
    const apart = start()
    const optimizer = make(fused, {
      ...(clip.norm && { maxGradNorm: clip.norm }),
      ...(clip.value && { maxGradValue: clip.value }),
    })
    const plain = make(apart)
    for (let step = 0; step < STEPS; step++) {
      setGradients(fused, step)
      setGradients(apart, step)
      if (clip.norm) nn.utils.clipGradNorm(Object.values(apart), clip.norm)
      if (clip.value) nn.utils.clipGradValue(Object.values(apart), clip.value)
      await optimizer.step()
      await plain.step()
      for (const key of ['w', 'b'] as const) {
        const expected = expectedAt(`${i}.${key}`, step, fused[key].numel)
        await closeTo(t, fused[key], expected, 2e-6, `fused ${key}, step ${step}`)
        await closeTo(t, apart[key], expected, 2e-6, `apart ${key}, step ${step}`)
      }
    }
  })

  test(`resumes exactly: ${title}`, async (t) => {
    const straight = start()
    const broken = start()
    const a = make(straight)
    let b = make(broken)
    for (let step = 0; step < STEPS; step++) {
      setGradients(straight, step)
      setGradients(broken, step)
      await a.step()
      await b.step()
      if (step === 5) {
        const saved = b.stateDict()
        b = new optim[name](Object.values(broken), { lr: 77 })
        b.loadStateDict(saved)
      }
    }
    t.is(a.lr, b.lr)
    t.deepEqual(await straight.w.data(), await broken.w.data())
    t.deepEqual(await straight.b.data(), await broken.b.data())
  })
})

test('clipGradNorm and clipGradValue', async (t) => {
  for (const [kind, normType] of [
    ['2', 2],
    ['inf', Infinity],
  ] as const) {
    const params = start()
    setGradients(params, 0)
    const total = nn.utils.clipGradNorm(Object.values(params), 0.5, { normType })
    t.deepEqual([...total.shape], [])
    await closeTo(t, total, numbers.array(`clip.${kind}.total`), 1e-6)
    await closeTo(t, params.w.grad, numbers.array(`clip.${kind}.w`), 1e-6)
    await closeTo(t, params.b.grad, numbers.array(`clip.${kind}.b`), 1e-6)
  }
  const one = zeros([3], { requiresGrad: true })
  t.is(await nn.utils.clipGradNorm(one, 1).item(), 0)
  one.grad = tensor([3, 0, 4])
  t.is(await nn.utils.clipGradNorm(one, 100).item(), 5)
  t.deepEqual([...(await one.grad.data())], [3, 0, 4])
  nn.utils.clipGradValue([one, zeros([1])], 3.5)
  t.deepEqual([...(await one.grad.data())], [3, 0, 3.5])
  one.grad = tensor([NaN, 1, 2])
  t.true(Number.isNaN(await nn.utils.clipGradNorm([one], 1, { normType: Infinity }).item()))
  one.grad = tensor([1, Infinity, 2])
  t.is(await nn.utils.clipGradNorm([one], 1, { normType: Infinity }).item(), Infinity)

  throwsWith(t, () => nn.utils.clipGradNorm(5 as never, 1), TypeError, /clipGradNorm\] parameters/)
  throwsWith(t, () => nn.utils.clipGradNorm([5 as never], 1), TypeError, /parameters\[0\]/)
  throwsWith(t, () => nn.utils.clipGradNorm([one], -1), RangeError, /maxNorm/)
  throwsWith(
    t,
    () => nn.utils.clipGradNorm([one], 1, { normType: 0 }),
    RangeError,
    /normType: expected any number but 0, got 0/,
  )
  throwsWith(t, () => nn.utils.clipGradNorm([one], 1, { norm: 1 } as never), TypeError, /norm/)
  throwsWith(t, () => nn.utils.clipGradValue([one], '1' as never), TypeError, /clipValue/)
})

test('clipGradNorm with any norm', async (t) => {
  const norms = numbers.info.norms as [p: number | 'inf' | '-inf', total: number][]
  for (const [p, total] of norms) {
    const params = start()
    setGradients(params, 0)
    const normType = p === 'inf' ? Infinity : p === '-inf' ? -Infinity : p
    const norm = nn.utils.clipGradNorm(Object.values(params), 0.5, { normType })
    await closeTo(t, norm, [total], 1e-5, `norm ${p}`)
    await closeTo(t, params.w.grad, numbers.array(`clip.${p}.w`), 1e-5, `norm ${p}`)
  }
  const none = zeros([2], { requiresGrad: true })
  t.is(await nn.utils.clipGradNorm(none, 1, { normType: -Infinity }).item(), 0)
  none.grad = tensor([1, NaN])
  for (const normType of [1, 3, -2, Infinity, -Infinity])
    t.true(Number.isNaN(await nn.utils.clipGradNorm(none, 1, { normType }).item()))
})

test.serial('clipGradNorm: errorIfNonfinite', async (t) => {
  const p = zeros([2], { requiresGrad: true })
  const optimizer = new optim.SGD([p], { lr: 1 })
  p.grad = tensor([3, 4])
  t.is(await nn.utils.clipGradNorm([p], 1, { errorIfNonfinite: true }).item(), 5)
  p.grad = tensor([1, Infinity])
  const norm = nn.utils.clipGradNorm([zeros([1]), p], 1, { errorIfNonfinite: true })
  const stepped = optimizer.step()
  await rejectsWith(
    t,
    stepped.then(() => norm.item()),
    Error,
    /\[clipGradNorm\] errorIfNonfinite: expected finite gradients, got infinity in gradient 0/,
  )
  await synchronize().catch(() => {})
  t.deepEqual([...(await p.data())], [0, 0])
  throwsWith(
    t,
    () => nn.utils.clipGradNorm([p], 1, { errorIfNonfinite: 1 as never }),
    TypeError,
    /errorIfNonfinite/,
  )
})

test('a large vector: its norm is the double-precision one, whatever the threads', async (t) => {
  const values = Float32Array.from({ length: 300_001 }, (_, i) => Math.sin(i) * 3)
  const p = zeros([values.length], { requiresGrad: true })
  p.grad = tensor(values)
  let sum = 0
  for (const value of values) sum += value * value
  const expected = Math.fround(Math.sqrt(sum))
  t.is(await nn.utils.clipGradNorm([p], 1e9).item(), expected)
})

test('groups: options of their own, lr for all, norm over all', async (t) => {
  const a = zeros([2], { requiresGrad: true })
  const b = zeros([2], { requiresGrad: true })
  const optimizer = new optim.SGD([{ params: [a] }, { params: b, lr: 0.5 }], {
    lr: 1,
    maxGradNorm: 1,
  })
  t.deepEqual(
    optimizer.paramGroups.map((group) => group.lr),
    [1, 0.5],
  )
  a.grad = tensor([3, 0])
  b.grad = tensor([0, 4])
  await optimizer.step()
  await closeTo(t, a, [-0.6, 0], 1e-6)
  await closeTo(t, b, [0, -0.4], 1e-6)
  t.deepEqual([...(await a.grad.data())], [3, 0]) // gradients stay unclipped
  t.is(optimizer.lr, 1)
  optimizer.lr = 0.25
  t.deepEqual(
    optimizer.paramGroups.map((group) => group.lr),
    [0.25, 0.25],
  )
  optimizer.maxGradNorm = undefined
  optimizer.maxGradValue = 2
  await optimizer.step()
  await closeTo(t, a, [-0.6 - 0.5, 0], 1e-6)
  optimizer.zeroGrad()
  await optimizer.step()
  await closeTo(t, a, [-1.1, 0], 1e-6)
  t.deepEqual(
    [a, b].map((param) => param.grad),
    [null, null],
  )
})

test('step queues at once and lets the event loop turn', async (t) => {
  const p = zeros([1], { requiresGrad: true })
  p.grad = tensor([1])
  const optimizer = new optim.SGD([p], { lr: 1 })
  let turned = false
  setImmediate(() => {
    turned = true
  })
  const stepped = optimizer.step()
  p.grad = null
  t.is(await p.item(), -1)
  await stepped
  t.true(turned)
})

test.serial('a failed gradient: the step rejects, the parameters stay', async (t) => {
  const p = zeros([2, 3], { requiresGrad: true })
  const optimizer = new optim.Adam([p], { lr: 1 })
  const loss = nn.functional.crossEntropy(p, tensor([0, 7], { dtype: 'int32' }))
  loss.backward()
  const stepped = optimizer.step()
  await rejectsWith(
    t,
    stepped.then(() => synchronize()),
    Error,
    /\[crossEntropy\] target\[1\]: expected a whole number of at least 0 and below 3, got 7/,
  )
  t.deepEqual([...(await p.data())], [0, 0, 0, 0, 0, 0])
})

test('a gradient that was read outlives zeroGrad', async (t) => {
  const p = zeros([2], { requiresGrad: true })
  const optimizer = new optim.SGD([p], { lr: 1 })
  p.add(3).backward(tensor([1, 2]))
  const grad = p.grad as Tensor
  optimizer.zeroGrad()
  t.deepEqual([...(await grad.data())], [1, 2])
})

test('what optimisers refuse', (t) => {
  const p = zeros([2], { requiresGrad: true })
  throwsWith(t, () => new optim.SGD([]), RangeError, /\[SGD\] params: expected at least one/)
  throwsWith(t, () => new optim.SGD(p as never), TypeError, /params: expected an iterable/)
  throwsWith(t, () => new optim.SGD([5 as never]), TypeError, /params: expected tensors, or groups/)
  throwsWith(t, () => new optim.SGD([p, 5 as never]), TypeError, /params\[1\]: expected a tensor/)
  throwsWith(t, () => new optim.SGD([p.add(2)]), TypeError, /leaf tensor.*computed by 'add'/)
  throwsWith(
    t,
    () => new optim.SGD([p, p]),
    RangeError,
    /params\[1\]: expected every parameter once/,
  )
  throwsWith(t, () => new optim.SGD([{ params: [] }]), RangeError, /at least one/)
  throwsWith(
    t,
    () => new optim.SGD([zeros([1], { dtype: 'int32' })]),
    TypeError,
    /params\[0\]: expected a float32 tensor/,
  )
  throwsWith(
    t,
    () => new optim.SGD([p], { lr: -1 }),
    RangeError,
    /\[SGD\] lr: .*at least 0, got -1/,
  )
  throwsWith(t, () => new optim.SGD([p], { lr: '1' as never }), TypeError, /lr/)
  throwsWith(t, () => new optim.SGD([p], { learningRate: 1 } as never), TypeError, /learningRate/)
  throwsWith(t, () => new optim.SGD([{ params: [p], foo: 1 } as never]), TypeError, /foo/)
  throwsWith(t, () => new optim.SGD([p], { nesterov: true }), RangeError, /nesterov.*momentum/)
  t.notThrows(() => new optim.SGD([p], { nesterov: true, momentum: 0.9 }))
  throwsWith(t, () => new optim.SGD([p], { maxGradNorm: -1 }), RangeError, /maxGradNorm/)
  throwsWith(t, () => new optim.SGD([p], { maxGradValue: NaN }), RangeError, /maxGradValue/)
  throwsWith(t, () => new optim.Adam([p], { betas: [0.9, 1] }), RangeError, /betas\[1\]/)
  throwsWith(
    t,
    () => new optim.Adam([p], { betas: 0.9 as never }),
    TypeError,
    /betas: expected two/,
  )
  throwsWith(t, () => new optim.AdamW([p], { eps: -1 }), RangeError, /\[AdamW\] eps/)
  const optimizer = new optim.Adam([p])
  throwsWith(
    t,
    () => {
      optimizer.lr = NaN
    },
    RangeError,
    /lr/,
  )
  const state = optimizer.stateDict()
  throwsWith(t, () => optimizer.loadStateDict(null as never), TypeError, /Adam.loadStateDict/)
  throwsWith(
    t,
    () => optimizer.loadStateDict({ ...state, paramGroups: [] }),
    RangeError,
    /expected 1 group\(s\), got 0/,
  )
  throwsWith(
    t,
    () =>
      optimizer.loadStateDict({ ...state, paramGroups: [{ ...state.paramGroups[0], params: [] }] }),
    RangeError,
    /expected 1 parameter\(s\), got 0/,
  )
  throwsWith(
    t,
    () => optimizer.loadStateDict({ ...state, state: { 0: { step: 1 } } }),
    TypeError,
    /state\[0\]\.expAvg: expected a tensor/,
  )
  throwsWith(
    t,
    () =>
      optimizer.loadStateDict({
        ...state,
        state: { 0: { step: 1, expAvg: zeros([3]), expAvgSq: zeros([2]) } },
      }),
    RangeError,
    /state\[0\]\.expAvg: expected float32 of shape \(2,\), got float32 of shape \(3,\)/,
  )
  throwsWith(
    t,
    () => optimizer.loadStateDict({ ...state, state: { 0: { momentumBuffer: zeros([2]) } } }),
    TypeError,
    /momentumBuffer/,
  )
})

test('an option that is undefined is the default', (t) => {
  const param = () => [zeros([1], { requiresGrad: true })]
  const options = { lr: undefined, weightDecay: undefined, maxGradNorm: undefined } as object
  const sgd = new optim.SGD(param(), options)
  t.is(sgd.lr, 1e-3)
  t.is(sgd.paramGroups[0]?.weightDecay, 0)
  t.is(new optim.AdamW(param(), options).paramGroups[0]?.weightDecay, 0.01)
  const group = { params: param(), lr: undefined } as unknown as { params: Tensor[] }
  t.is(new optim.Adam([group], { lr: 0.5 }).lr, 0.5)
})
