/** nn.utils.rnn against PyTorch (fixtures/make_packed.py), its errors and round trips. */
import test from 'ava'
import { nn, ones, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, fixture, gradcheck, projected, randomTensor, throwsWith } from './helpers.js'

const {
  PackedSequence,
  packPaddedSequence,
  packSequence,
  padPackedSequence,
  padSequence,
  unpackSequence,
  unpadSequence,
} = nn.utils.rnn
const file = fixture('packed')

interface PackedCase {
  name: string
  lengths: number[]
  enforceSorted: boolean
  batchFirst: boolean
}

for (const { name, lengths, enforceSorted, batchFirst } of file.info.cases as PackedCase[]) {
  test(`as PyTorch: ${name}`, async (t) => {
    const all = file.tensor('x')
    const x = (batchFirst ? all.transpose(0, 1) : all).detach()
    x.requiresGrad = true
    const packed = packPaddedSequence(x, lengths, { batchFirst, enforceSorted })
    await closeTo(t, packed.data, file.array(`${name}.data`), 0, 'data')
    await closeTo(t, packed.batchSizes, file.array(`${name}.batch_sizes`).data, 0, 'batch sizes')
    if (enforceSorted) {
      t.is(packed.sortedIndices, null)
      t.is(packed.unsortedIndices, null)
    } else {
      await closeTo(t, packed.sortedIndices, file.array(`${name}.sorted_indices`), 0)
      await closeTo(t, packed.unsortedIndices, file.array(`${name}.unsorted_indices`), 0)
    }
    packed.data.backward(file.tensor(`${name}.ddata`))
    await closeTo(t, x.grad, file.array(`${name}.dx`), 0, 'gradient of the input')

    const leaf = file.tensor(`${name}.data`, { requiresGrad: true })
    const [padded, back] = padPackedSequence(packed.withData(leaf), {
      batchFirst,
      paddingValue: -1.5,
      totalLength: 9,
    })
    t.deepEqual([...back], lengths)
    await closeTo(t, padded, file.array(`${name}.padded`), 0, 'padded')
    padded.backward(file.tensor(`${name}.dpadded`))
    await closeTo(t, leaf.grad, file.array(`${name}.dleaf`), 0, 'gradient of data')
  })
}

const sequences = (): Tensor[] =>
  (file.info.lengths as number[]).map((_, i) => file.tensor(`sequence_${i}`))

test('as PyTorch: padSequence, both sides', async (t) => {
  for (const batchFirst of [false, true]) {
    for (const paddingSide of ['right', 'left'] as const) {
      const padded = padSequence(sequences(), { batchFirst, paddingSide, paddingValue: 0.25 })
      await closeTo(t, padded, file.array(`pad_${paddingSide}_${Number(batchFirst)}`), 0)
    }
  }
  await closeTo(t, padSequence([tensor([1]), tensor([2, 3])]), [1, 2, 0, 3], 0)
})

test('as PyTorch: packSequence, and back by unpackSequence', async (t) => {
  const packed = packSequence(sequences(), { enforceSorted: false })
  await closeTo(t, packed.data, file.array('pack_sequence.data'), 0)
  await closeTo(t, packed.batchSizes, file.array('pack_sequence.batch_sizes').data, 0)
  await closeTo(t, packed.sortedIndices, file.array('pack_sequence.sorted_indices'), 0)
  await closeTo(t, packed.unsortedIndices, file.array('pack_sequence.unsorted_indices'), 0)
  const back = unpackSequence(packed)
  t.is(back.length, 4)
  for (const [i, sequence] of back.entries()) {
    await closeTo(t, sequence, file.array(`sequence_${i}`), 0)
  }
})

test('unpadSequence cuts to the lengths and leaves its arguments alone', async (t) => {
  for (const batchFirst of [false, true]) {
    const padded = padSequence(sequences(), { batchFirst })
    const before = await padded.data()
    const shape = [...padded.shape]
    const lengths = Object.freeze([3, 5, 1, 4])
    const parts = unpadSequence(padded, lengths, { batchFirst })
    for (const [i, part] of parts.entries()) {
      await closeTo(t, part, file.array(`sequence_${i}`), 0)
    }
    t.deepEqual(await padded.data(), before)
    t.deepEqual([...padded.shape], shape)
  }
})

test('round trips with shuffled orders', async (t) => {
  for (let seed = 0; seed < 20; seed++) {
    const N = 1 + (seed % 7)
    const lengths = Array.from({ length: N }, (_, n) => 1 + ((n * 7 + seed * 5) % 6))
    const T = Math.max(...lengths)
    const batchFirst = seed % 2 === 1
    const x = randomTensor(batchFirst ? [N, T, 3] : [T, N, 3], seed)
    const packed = packPaddedSequence(x, lengths, { batchFirst, enforceSorted: false })
    const [padded, back] = padPackedSequence(packed, { batchFirst })
    t.deepEqual([...back], lengths)
    const parts = unpadSequence(x, lengths, { batchFirst })
    await closeTo(t, padded, padSequence(parts, { batchFirst }), 0)
    for (const [n, part] of unpackSequence(packed).entries()) {
      await closeTo(t, part, parts[n] as Tensor, 0)
    }
    const again = packSequence(parts, { enforceSorted: false })
    t.deepEqual(await again.data.data(), await packed.data.data())
    t.deepEqual(again.batchSizes, packed.batchSizes)
  }
})

test('padding past the longest length is cut', async (t) => {
  const packed = packPaddedSequence(randomTensor([9, 2, 3], 1), [4, 2])
  t.deepEqual([...padPackedSequence(packed)[0].shape], [4, 2, 3])
  t.deepEqual([...packed.batchSizes], [2, 2, 1, 1])
})

test('tensors of other ranks and of int32 are packed too', async (t) => {
  const tokens = tensor(Int32Array.of(1, 2, 3, 4, 5, 0), { shape: [3, 2] })
  const packed = packPaddedSequence(tokens, [3, 2])
  t.is(packed.data.dtype, 'int32')
  t.deepEqual(await packed.data.data(), Int32Array.of(1, 2, 3, 4, 5))
  const [padded] = padPackedSequence(packed, { paddingValue: -1 })
  t.deepEqual(await padded.data(), Int32Array.of(1, 2, 3, 4, 5, -1))
  const deep = packPaddedSequence(randomTensor([2, 2, 3, 4], 1), Int32Array.of(2, 1))
  t.deepEqual([...deep.data.shape], [3, 3, 4])
})

test('gradients of all utilities', async (t) => {
  const x = randomTensor([4, 3, 2], 1, { requiresGrad: true })
  const f = (input?: Tensor): Tensor[] => {
    const lengths = [2, 4, 1]
    const packed = packPaddedSequence(input as Tensor, lengths, { enforceSorted: false })
    const [padded] = padPackedSequence(packed, { totalLength: 5 })
    const repacked = packSequence(unpadSequence(padded, lengths), { enforceSorted: false })
    const left = padSequence(unpackSequence(repacked), { paddingSide: 'left' })
    return [packed.data, padded, left]
  }
  await gradcheck(t, f, [x])
  projected(
    f(x),
    f(x.detach()).map((out) => ones(out.shape)),
  ).backward()
})

test('errors: lengths', (t) => {
  const x = zeros([7, 3, 2])
  const call = (lengths: unknown, options?: object) => () =>
    packPaddedSequence(x, lengths as number[], options)
  const at = (rest: string): RegExp => new RegExp(`^\\[packPaddedSequence\\] ${rest}`)
  throwsWith(t, call([8, 2, 1]), RangeError, at('lengths\\[0\\]: expected .*7, got 8'))
  throwsWith(t, call([7, 2, 0]), RangeError, at('lengths\\[2\\]: expected .*1.*, got 0'))
  throwsWith(t, call([7, 2, -1]), RangeError, at('lengths\\[2\\]'))
  throwsWith(t, call([7, 2.5, 1]), RangeError, at('lengths\\[1\\]'))
  throwsWith(t, call([7, 2]), RangeError, at('lengths: expected 3 .*got 2'))
  throwsWith(t, call([7, 2, 1, 1]), RangeError, at('lengths: expected 3 .*got 4'))
  throwsWith(t, call([2, 7, 1]), RangeError, at('lengths: expected .*enforceSorted.*\\[2, 7, 1\\]'))
  t.notThrows(call([2, 7, 1], { enforceSorted: false }))
  throwsWith(t, call('721'), TypeError, at('lengths: expected an array'))
  throwsWith(t, call([7, '2', 1]), TypeError, at('lengths\\[1\\]'))
  throwsWith(t, call([7, 2, 1], { enforce_sorted: false }), TypeError, /enforce_sorted/)
  throwsWith(t, call([7, 2, 1], { batchFirst: 1 }), TypeError, at('batchFirst'))
  throwsWith(t, () => packPaddedSequence(zeros([3]), [1, 1, 1]), RangeError, at('input'))
  throwsWith(t, () => packPaddedSequence([1] as never, [1]), TypeError, at('input'))
  throwsWith(t, () => packPaddedSequence(zeros([3, 0, 2]), []), RangeError, at('input'))
})

test('errors: padPackedSequence, padSequence, packSequence, unpadSequence', (t) => {
  const packed = packPaddedSequence(zeros([7, 2, 2]), [5, 2])
  throwsWith(
    t,
    () => padPackedSequence(packed, { totalLength: 4 }),
    RangeError,
    /\[padPackedSequence\] totalLength: expected .*5, got 4/,
  )
  throwsWith(t, () => padPackedSequence(packed, { totalLength: 5.5 }), RangeError, /totalLength/)
  throwsWith(t, () => padPackedSequence(packed, { total: 5 } as never), TypeError, /total/)
  throwsWith(t, () => padPackedSequence(zeros([2]) as never), TypeError, /a PackedSequence/)
  throwsWith(
    t,
    () => padSequence([]),
    RangeError,
    /\[padSequence\] sequences: expected at least one/,
  )
  throwsWith(t, () => padSequence(zeros([2]) as never), TypeError, /sequences: expected an array/)
  throwsWith(
    t,
    () => padSequence([zeros([2, 3]), zeros([2, 4])]),
    RangeError,
    /sequences\[1\]: expected shape \(\*, 3\), got \(2, 4\)/,
  )
  throwsWith(t, () => padSequence([zeros([2]), 3 as never]), TypeError, /sequences\[1\]/)
  throwsWith(t, () => padSequence([zeros([])]), RangeError, /sequences\[0\]/)
  throwsWith(
    t,
    () => padSequence([zeros([2])], { paddingSide: 'middle' as never }),
    TypeError,
    /paddingSide: expected one of 'right', 'left', got 'middle'/,
  )
  throwsWith(t, () => packSequence([zeros([1, 2]), zeros([3, 2])]), RangeError, /enforceSorted/)
  throwsWith(t, () => packSequence([zeros([0, 2])]), RangeError, /\[pack(Padded)?Sequence\]/)
  throwsWith(t, () => unpackSequence([] as never), TypeError, /a PackedSequence/)
  throwsWith(t, () => unpadSequence(zeros([3, 2]), [4, 1]), RangeError, /lengths\[0\].*got 4/)
  throwsWith(t, () => unpadSequence(zeros([3, 2]), [3]), RangeError, /lengths: expected 2/)
})

test('errors: a PackedSequence made by hand is checked', (t) => {
  const data = zeros([5, 2])
  t.notThrows(() => new PackedSequence(data, [3, 2], [2, 0, 1]))
  throwsWith(t, () => new PackedSequence(data, [2, 3]), RangeError, /\[PackedSequence\] batchSizes/)
  throwsWith(t, () => new PackedSequence(data, [3, 1]), RangeError, /data: expected 4 rows/)
  throwsWith(t, () => new PackedSequence(data, []), RangeError, /batchSizes/)
  throwsWith(t, () => new PackedSequence(data, [5, 0]), RangeError, /batchSizes/)
  throwsWith(t, () => new PackedSequence(data, [3, 2], [0, 0, 1]), RangeError, /order/)
  throwsWith(t, () => new PackedSequence(data, [3, 2], [0, 1]), RangeError, /order/)
  throwsWith(t, () => new PackedSequence([] as never, [1]), TypeError, /data/)
})

test('lengths as a tensor', async (t) => {
  const x = tensor(
    Float32Array.from({ length: 24 }, (_, i) => i),
    { shape: [4, 3, 2] },
  )
  const lengths = tensor([2, 4, 1], { dtype: 'int32' })
  const plain = packPaddedSequence(x, [2, 4, 1], { enforceSorted: false })
  const packed = packPaddedSequence(x, lengths, { enforceSorted: false })
  t.deepEqual(await packed.data.data(), await plain.data.data())
  t.deepEqual([...packed.batchSizes], [...plain.batchSizes])
  t.is(unpadSequence(x, lengths)[1]?.shape[0], 4)
  const refuses = (given: unknown, error: typeof TypeError | typeof RangeError, message: RegExp) =>
    throwsWith(t, () => packPaddedSequence(x, given as number[]), error, message)
  refuses(tensor([2, 4, 1]), RangeError, /lengths: expected an int32 tensor .* got float32/)
  refuses(tensor([[2, 4, 1]], { dtype: 'int32' }), RangeError, /of shape \(1, 3\)/)
  refuses(lengths.clone(), TypeError, /give 'await lengths.data\(\)'/)
  refuses(tensor([2, 1], { dtype: 'int32' }), RangeError, /expected 3 lengths/)
})
