import assert from 'node:assert'
import test from 'ava'
import { device, nn, ones, randn, synchronize, tensor, zeros } from 'fused-rnn'
import { closeTo, gradcheck, randomTensor, testDevice, throwsWith } from './helpers.js'

test('tensor: memory shared with other threads', async (t) => {
  const shared = new Float32Array(new SharedArrayBuffer(16), 4, 2)
  shared.set([1, 2])
  t.deepEqual(await tensor(shared).data(), Float32Array.of(1, 2))
})

test('tensor: nested arrays, typed arrays, shape and dtype', async (t) => {
  const a = tensor([
    [1, 2, 3],
    [4, 5, 6],
  ])
  t.deepEqual([...a.shape], [2, 3])
  t.is(a.dtype, 'float32')
  t.deepEqual(await a.data(), Float32Array.of(1, 2, 3, 4, 5, 6))
  const b = tensor(Int32Array.of(1, 2), { shape: [2, 1] })
  t.is(b.dtype, 'int32')
  t.deepEqual(await b.data(), Int32Array.of(1, 2))
  t.is(await tensor(3).item(), 3)
  const shared = new Float32Array(new SharedArrayBuffer(8))
  shared[1] = 2
  t.deepEqual(await tensor(shared).data(), Float32Array.of(0, 2))
  t.deepEqual(await zeros([2]).data(), new Float32Array(2))
  t.deepEqual(await ones([0, 2]).data(), new Float32Array(0))
})

test('tensor: rows of typed arrays', async (t) => {
  const floats = tensor([Float32Array.of(1, 2), Float32Array.of(3, 4), [5, 6]])
  t.deepEqual([floats.dtype, [...floats.shape]], ['float32', [3, 2]])
  t.deepEqual(await floats.data(), Float32Array.of(1, 2, 3, 4, 5, 6))
  const whole = tensor([[Int32Array.of(1, 2)], [Int32Array.of(3, 2 ** 31 - 1)]])
  t.deepEqual([whole.dtype, [...whole.shape]], ['int32', [2, 1, 2]])
  t.deepEqual(await whole.data(), Int32Array.of(1, 2, 3, 2 ** 31 - 1))
  t.is(tensor([Int32Array.of(1), [2]]).dtype, 'float32')
  t.is(tensor([Int32Array.of(1)], { dtype: 'float32' }).dtype, 'float32')
  t.is(tensor([Float64Array.of(1), Uint8Array.of(2)], { dtype: 'int32' }).dtype, 'int32')
  t.deepEqual([...tensor([new Float32Array(0), []]).shape], [2, 0])
  t.deepEqual([...tensor([]).shape], [0])
})

test('tensor: an error of numbers names row and column', (t) => {
  const cases: [values: unknown, kind: 'TypeError' | 'RangeError', message: RegExp, int?: true][] =
    [
      [
        [
          [1, 2],
          [3, 'x'],
        ],
        'TypeError',
        /values\[1\]\[1\]: expected a number, got 'x'/,
      ],
      [
        [[1, 2], [3]],
        'TypeError',
        /values\[1\]: expected rows of one shape \(2,\), got shape \(1,\)/,
      ],
      [
        [
          [[1], [2]],
          [[3], 4],
        ],
        'TypeError',
        /values\[1\]\[1\]: expected rows of one shape \(1,\), got a number/,
      ],
      [[[1, 2], null], 'TypeError', /values\[1\]: expected an array of numbers, got null/],
      [[1, undefined, 3], 'TypeError', /values\[1\]: expected a number, got undefined/],
      [[Float32Array.of(1), Float32Array.of(1, 2)], 'TypeError', /values\[1\]: .*got shape \(2,\)/],
      [[[1], BigInt64Array.of(1n)], 'TypeError', /values\[1\]: expected a number, nested arrays/],
      [[BigInt64Array.of(1n)], 'TypeError', /values\[0\]: expected a number, nested arrays/],
      [
        [[Float32Array.of(1)], Float32Array.of(1)],
        'TypeError',
        /values\[1\]: .*\(1, 1\), got shape \(1,\)/,
      ],
      [
        [
          [1, 2],
          [3, 4.5],
        ],
        'RangeError',
        /values\[1\]\[1\]: expected a whole number .*got 4\.5/,
        true,
      ],
      ['x', 'TypeError', /values: expected a number, nested arrays .* got 'x'/],
    ]
  for (const [values, kind, message, int] of cases) {
    const make = () => tensor(values as number[], int ? { dtype: 'int32' } : {})
    throwsWith(t, make, kind === 'TypeError' ? TypeError : RangeError, message)
  }
})

test('tensor: bad values', (t) => {
  throwsWith(
    t,
    () => tensor([[1, 2], [3]]),
    TypeError,
    /\[tensor\] values\[1\]: expected rows of one shape \(2,\), got shape \(1,\)/,
  )
  throwsWith(t, () => tensor(['a'] as unknown as number[]), TypeError, /\[tensor\] values/)
  throwsWith(
    t,
    () => tensor([1, 2], { shape: [3] }),
    RangeError,
    /\[tensor\] shape: expected a shape of 2 elements, got \(3,\)/,
  )
  throwsWith(t, () => tensor([1n] as unknown as number[]), TypeError, /\[tensor\] values.*got 1n/)
  throwsWith(t, () => zeros([2 ** 53]), RangeError, /between 0 and 9007199254740991, got/)
  throwsWith(t, () => tensor([1.5], { dtype: 'int32' }), RangeError, /values\[0\]/)
  throwsWith(t, () => tensor([1], { dtpe: 'int32' } as object), TypeError, /dtpe/)
  throwsWith(t, () => tensor([1]).item && tensor([1, 2]).item(), RangeError, /\[item\]/)
})

test('add: values, gradient', async (t) => {
  const a = randomTensor([2, 3], 1, { requiresGrad: true })
  const b = randomTensor([2, 3], 2, { requiresGrad: true })
  await gradcheck(t, (x, y) => x.add(y), [a, b])
  await closeTo(t, tensor([1, 2]).add(1), [2, 3], 0)
})

test('devices: every call that takes one names itself', (t) => {
  t.is(tensor([1], { device: device('cpu') }).to('cpu').device, 'cpu')
  t.is(tensor([1]).device, testDevice)
  // Why depends on the build and the machine.
  const missing = /expected 'cpu'.*, got 'cuda:99': (there (is|are) \d+ GPU|\w+)/
  const calls: [string, (name: string) => unknown][] = [
    ['device', (name) => device(name)],
    ['tensor', (name) => tensor([1], { device: name })],
    ['zeros', (name) => zeros([1], { device: name })],
    ['randn', (name) => randn([1], { device: name })],
    ['to', (name) => ones([1]).to(name)],
    ['to', (name) => new nn.Linear(1, 1).to(name)],
    ['synchronize', (name) => synchronize(name)],
  ]
  for (const [fn, call] of calls) {
    throwsWith(t, () => call('cuda:99'), RangeError, missing)
    throwsWith(t, () => call('cuda:99'), RangeError, new RegExp(`^\\[${fn}\\]`))
    throwsWith(t, () => call('gpu'), TypeError, /expected 'cpu', 'cuda' or 'cuda:N', got 'gpu'/)
  }
})

test('randn: float32 may be said, int32 may not', (t) => {
  t.is(randn([2], { dtype: 'float32', requiresGrad: true }).dtype, 'float32')
  const wrong = { dtype: 'int32' } as unknown as { dtype: 'float32' }
  throwsWith(t, () => randn([2], wrong), TypeError, /\[randn\] dtype: expected one of 'float32'/)
})

test('what a tensor has is not assigned to; comparers do not take two tensors for one', (t) => {
  const x = zeros([2, 3])
  for (const [name, value] of [
    ['shape', [6]],
    ['dtype', 'int32'],
    ['device', 'cuda:0'],
    ['numel', 1],
  ] as const)
    throwsWith(
      t,
      () => Reflect.set(x, name, value),
      TypeError,
      new RegExp(`^\\[Tensor\\] ${name}: a tensor keeps its ${name}; make another one: x = `),
    )
  t.deepEqual([...x.shape], [2, 3])
  // Neither sees the values.
  assert.deepStrictEqual({ x }, { x })
  t.throws(() => assert.deepStrictEqual(tensor([1]), tensor([2])))
  t.throws(() => assert.deepStrictEqual(tensor([1]), tensor([1])))
})
