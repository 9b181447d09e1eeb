/** Values that cannot be looked at, or are not what they say; the cases that properties.test.ts found. */
import test from 'ava'
import { cat, data, full, History, models, nn, optim, tensor, zeros } from 'fused-rnn'
import { throwsWith } from './helpers.js'

test('an error about a value that throws when it is read', (t) => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const hostile = Object.defineProperty({}, 'constructor', {
    get() {
      throw new Error('not to be read')
    },
  })
  for (const value of [hostile, Symbol('s'), 2n ** 500n, 'x'.repeat(1000), [[[[[[[1]]]]]]]]) {
    // Nor is the text a long one.
    throwsWith(
      t,
      () => cat([value as never], 0),
      TypeError,
      /^\[cat\] tensors\[0\]: expected a tensor, got .{1,150}$/,
    )
  }
  throwsWith(t, () => cat([proxy as never], 0), TypeError, /proxy that has been revoked|\[cat\]/)
})

test('a hole in an array of tensors is no tensor', (t) => {
  const holes = [tensor([1]), tensor([2]), tensor([3])]
  delete holes[1]
  throwsWith(
    t,
    () => cat(holes, 0),
    TypeError,
    /\[cat\] tensors\[1\]: expected a tensor, got undefined/,
  )
})

test('an array that has lost its memory, or says that it is longer', (t) => {
  const gone = Float32Array.of(1, 2)
  structuredClone(gone.buffer, { transfer: [gone.buffer] })
  const lost = /expected .*, got a Float32Array that has lost its memory/
  throwsWith(t, () => tensor(gone), TypeError, lost)
  throwsWith(t, () => new optim.SGD(gone as never), TypeError, lost)
  throwsWith(t, () => new data.Vocabulary(['a']).decode(gone), TypeError, lost)
  class Longer extends Float32Array {
    override get length(): number {
      return 1000
    }
  }
  throwsWith(
    t,
    () => tensor(new Longer(3)),
    RangeError,
    /\[tensor\] values: expected 1000 numbers, got an array of 3/,
  )
})

test('a mean over dimensions that are not side by side, one of them empty, is NaN', async (t) => {
  t.deepEqual([...(await zeros([0, 2, 3]).mean([0, 2]).data())], [NaN, NaN])
})

test('int32 tensors of numbers that int32 does not have', async (t) => {
  for (const value of [0.5, NaN, 2 ** 31]) {
    throwsWith(
      t,
      () => full([2], value, { dtype: 'int32' }),
      RangeError,
      /\[full\] value: expected a whole number that fits int32/,
    )
    const sequences = [zeros([2], { dtype: 'int32' }), zeros([1], { dtype: 'int32' })]
    t.throws(() => nn.utils.rnn.padSequence(sequences, { paddingValue: value }))
  }
  const large = full([2, 2], -(2 ** 31), { dtype: 'int32' })
  t.deepEqual([...(await large.data())], new Array(4).fill(-(2 ** 31)))
})

test('padding to more steps than any sequence has', async (t) => {
  const packed = nn.utils.rnn.packSequence([tensor([1, 2]), tensor([3])])
  for (const batchFirst of [false, true]) {
    const options = { totalLength: 4, paddingValue: 9, batchFirst }
    const [padded, lengths] = nn.utils.rnn.padPackedSequence(packed, options)
    const rows = batchFirst ? padded : padded.transpose(0, 1)
    t.deepEqual([...(await rows.data())], [1, 2, 9, 9, 3, 9, 9, 9])
    t.deepEqual(lengths, [2, 1])
  }
  throwsWith(
    t,
    () => nn.utils.rnn.padPackedSequence(packed, { totalLength: 2 ** 40 }),
    RangeError,
    /\[padPackedSequence\] shape: expected a tensor that fits/,
  )
})

test("a packed sequence's batch sizes are its own", async (t) => {
  const packed = nn.utils.rnn.packSequence([tensor([[1], [2]]), tensor([[3]])])
  packed.batchSizes.fill(1000)
  t.deepEqual([...packed.batchSizes], [2, 1])
  const sizes = [0.5, -1, 2 ** 31, NaN]
  for (const size of sizes)
    t.throws(() => new nn.utils.rnn.PackedSequence(zeros([1, 1]), [size]), {
      instanceOf: RangeError,
    })
})

test('models and histories name what they were not given', (t) => {
  const Model = models.LanguageModel as unknown as new () => models.LanguageModel
  throwsWith(t, () => new Model(), TypeError, /\[LanguageModel\] options: expected an object/)
  const model = new models.LanguageModel({ vocabSize: 5, embeddingSize: 2, hiddenSize: 2 })
  throwsWith(
    t,
    () => model.detachState(zeros([2, 1, 2])),
    TypeError,
    /\[detachState\] state: expected the pair \[h, c\], for cell 'lstm'/,
  )
  throwsWith(
    t,
    () => History.fromJSON([{ kind: 'step' }] as never),
    TypeError,
    /\[History\.add\] record: expected a record/,
  )
})
