import test from 'ava'
import { nn, noGrad, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, fixture, gradcheck, randomTensor, rejectsWith, throwsWith } from './helpers.js'

const numbers = fixture('sequence')
const F = nn.functional
const ints = (values: readonly number[], shape: readonly number[] = [values.length]) =>
  tensor(Int32Array.from(values), { shape })

/** The gradient that the fixture's script gives every loss. */
function seed(loss: Tensor): Tensor {
  const n = loss.numel
  const values = Float32Array.from({ length: n }, (_, i) => (n === 1 ? 0.5 : 0.5 + i / (n - 1)))
  return tensor(values, { shape: loss.shape })
}

// ---- CTC -------------------------------------------------------------------------------------------

const { inputs, targets } = numbers.info as { inputs: number[]; targets: number[] }

numbers.info.ctc.forEach((given: Record<string, unknown>, i: number) => {
  test(`ctcLoss as PyTorch: ${JSON.stringify(given)}`, async (t) => {
    const { zero_infinity, ...options } = given
    const all = { ...options, zeroInfinity: zero_infinity ?? false } as nn.functional.CTCLossOptions
    const loss = new nn.CTCLoss(all)
    const padded = numbers.tensor('ctc.padded')
    const flat = numbers.tensor('ctc.flat')
    const cases: ((x: Tensor) => Tensor)[] = [
      (x) => F.ctcLoss(x, padded, inputs, targets, all),
      (x) => F.ctcLoss(x, flat, Int32Array.from(inputs), targets, all),
      (x) => loss.forward(x, padded, ints(inputs), ints(targets)),
      (x) => loss.forward(x, flat, ints(inputs), ints(targets)),
    ]
    for (const compute of cases) {
      const logits = numbers.tensor('ctc.logits', { requiresGrad: true })
      const value = compute(logits.logSoftmax(2))
      value.backward(seed(value))
      await closeTo(t, value, numbers.array(`ctc.${i}.loss`), 1e-6, 'loss')
      await closeTo(t, logits.grad, numbers.array(`ctc.${i}.grad`), 2e-6, 'gradient')
      const without = noGrad(() => compute(numbers.tensor('ctc.logits').logSoftmax(2)))
      await closeTo(t, without, await value.data(), 0, 'without a gradient')
    }
  })
})

test('ctcLoss: the gradient of logProbs themselves, as PyTorch defines it', async (t) => {
  const x = numbers.tensor('ctc.log_probs', { requiresGrad: true })
  const options = { reduction: 'sum', zeroInfinity: true } as const
  F.ctcLoss(x, numbers.tensor('ctc.padded'), inputs, targets, options).backward()
  await closeTo(t, x.grad, numbers.array('ctc.own'), 2e-6)
})

test('ctcLoss of one sequence', async (t) => {
  const logits = numbers.tensor('one.logits', { requiresGrad: true })
  const loss = F.ctcLoss(logits.logSoftmax(1), numbers.tensor('one.targets'), 60, 8, { blank: 8 })
  t.deepEqual([...loss.shape], [])
  loss.backward()
  await closeTo(t, loss, numbers.array('one.loss'), 1e-6)
  await closeTo(t, logits.grad, numbers.array('one.grad'), 2e-6)
  const none = F.ctcLoss(logits.logSoftmax(1), numbers.tensor('one.targets'), [60], [8], {
    blank: 8,
    reduction: 'none',
  })
  t.deepEqual([...none.shape], [])
})

test('ctcLoss of no steps, no labels, nothing finite', async (t) => {
  const x = zeros([3, 2, 4]).logSoftmax(2)
  x.requiresGrad = true
  const y = ints([1, 2, 3, 1], [2, 2])
  const loss = F.ctcLoss(x, y, [0, 0], [0, 1], { reduction: 'none' })
  loss.sum().backward()
  t.deepEqual([...(await loss.data())], [0, Infinity])
  t.deepEqual([...((await x.grad?.data()) ?? [])], new Array(24).fill(0))
  await closeTo(
    t,
    F.ctcLoss(x, zeros([2, 0], { dtype: 'int32' }), [3, 2], [0, 0], { reduction: 'none' }),
    [3 * Math.log(4), 2 * Math.log(4)],
    1e-6,
  )
  const none = zeros([0, 1, 4])
  t.deepEqual([...(await F.ctcLoss(none, zeros([1, 0], { dtype: 'int32' }), [0], [0]).data())], [0])
  const nan = tensor(new Float32Array(24).fill(NaN), { shape: [3, 2, 4] })
  t.true(Number.isNaN(await F.ctcLoss(nan, y, [3, 3], [2, 2]).item()))
})

test('ctcLoss: finite differences', async (t) => {
  const x = randomTensor([6, 2, 4], 3, { requiresGrad: true })
  const y = ints([1, 1, 3, 2], [2, 2])
  for (const reduction of ['mean', 'sum', 'none'] as const)
    await gradcheck(t, (a) => F.ctcLoss(a.logSoftmax(2), y, [6, 5], [2, 2], { reduction }), [x])
})

test('ctcLoss of a thousand steps keeps its digits', async (t) => {
  // Each step even over two classes: the number of alignments over 2^T.
  const x = tensor(new Float32Array(2000).fill(Math.log(0.5)), { shape: [1000, 1, 2] })
  const loss = F.ctcLoss(x, ints([1], [1, 1]), [1000], [1], { reduction: 'sum' })
  const ways = (1000 * 1001) / 2
  await closeTo(t, loss, [1000 * Math.LN2 - Math.log(ways)], 1e-6)
})

test('ctcLoss: wrong arguments', (t) => {
  const x = zeros([4, 2, 3])
  const y = ints([1, 2, 2, 1], [2, 2])
  const fails = (
    args: unknown[],
    kind: typeof RangeError | typeof TypeError,
    message: RegExp,
  ): void =>
    throwsWith(
      t,
      () => (F.ctcLoss as never as (...a: unknown[]) => unknown)(...args),
      kind,
      message,
    )
  fails([[1], y, [4, 4], [2, 2]], TypeError, /\[ctcLoss\] logProbs: expected a tensor/)
  fails([zeros([4]), y, [4, 4], [2, 2]], RangeError, /shape \(T, N, C\) or \(T, C\)/)
  fails([zeros([4, 0, 3]), y, [], []], RangeError, /at least one sequence/)
  fails([x, zeros([2, 2]), [4, 4], [2, 2]], TypeError, /targets: expected an int32 tensor/)
  fails(
    [x, ints([1, 2, 1], [3, 1]), [4, 4], [1, 1]],
    RangeError,
    /targets: expected shape \(2, S\)/,
  )
  fails([x, y, [4], [2, 2]], RangeError, /inputLengths: expected 2 lengths/)
  fails([x, y, [4, 5], [2, 2]], RangeError, /inputLengths\[1\]: .*between 0 and 4, got 5/)
  fails([x, y, [4, 4], [2, 3]], RangeError, /targetLengths\[1\]: .*between 0 and 2, got 3/)
  fails([x, y, [4, 4], [2, 0.5]], RangeError, /targetLengths\[1\]/)
  fails([x, y, 4, [2, 2]], TypeError, /inputLengths: expected an array/)
  fails([x, y, zeros([2]), [2, 2]], TypeError, /inputLengths: expected an int32 tensor/)
  fails([x, y, ints([4]), [2, 2]], RangeError, /inputLengths: expected shape \(2,\)/)
  fails([x, ints([1, 2, 1]), [4, 4], [1, 1]], RangeError, /add up to the 3 targets, got 2/)
  fails([x, y, [4, 4], [2, 2], { blank: 3 }], RangeError, /blank: expected a class, below 3/)
  fails([x, y, [4, 4], [2, 2], { zeroInfinity: 1 }], TypeError, /zeroInfinity/)
  fails([x, y, [4, 4], [2, 2], { reduction: 'x' }], TypeError, /reduction/)
  fails([x, y, [4, 4], [2, 2], { zero_infinity: true }], TypeError, /zero_infinity/)
  throwsWith(t, () => new nn.CTCLoss({ blank: -1 }), RangeError, /\[CTCLoss\] blank/)
})

test.serial('ctcLoss: what is wrong in tensors rejects the next promise', async (t) => {
  const x = zeros([4, 2, 3])
  const y = ints([1, 2, 2, 1], [2, 2])
  const full = ints([2, 2])
  const reject = (loss: Tensor, message: RegExp) => rejectsWith(t, loss.item(), Error, message)
  await reject(
    F.ctcLoss(x, ints([1, 2, 3, 1], [2, 2]), [4, 4], [2, 2]),
    /\[ctcLoss\] targets\[2\]: .*below 3, got 3/,
  )
  await reject(F.ctcLoss(x, ints([1, 2, 0, 1], [2, 2]), [4, 4], [2, 2]), /labels, got the blank/)
  await reject(F.ctcLoss(x, y, ints([4, 5]), full), /inputLengths\[1\]: .*below 5, got 5/)
  await reject(F.ctcLoss(x, y, [4, 4], ints([-1, 2])), /targetLengths\[0\]: .*got -1/)
  await reject(F.ctcLoss(x, ints([1, 2, 1]), [4, 4], ints([1, 1])), /targetLengths: .*add up/)
})

// ---- CRF -------------------------------------------------------------------------------------------

function crfOf(name: string, batchFirst = false): nn.CRF {
  const crf = new nn.CRF(numbers.array(`crf.${name}.start`).shape[0] as number, { batchFirst })
  crf.loadStateDict(
    new Map([
      ['start_transitions', numbers.tensor(`crf.${name}.start`)],
      ['end_transitions', numbers.tensor(`crf.${name}.end`)],
      ['transitions', numbers.tensor(`crf.${name}.transitions`)],
    ]),
  )
  return crf
}

for (const name of numbers.info.crf as string[]) {
  for (const batchFirst of [false, true]) {
    test(`CRF as composed in PyTorch: ${name}${batchFirst ? ', batchFirst' : ''}`, async (t) => {
      const crf = crfOf(name, batchFirst)
      const turned = (x: Tensor): Tensor => (batchFirst ? x.transpose(0, 1) : x)
      const leaf = numbers.tensor(`crf.${name}.emissions`, { requiresGrad: true })
      const mask = turned(numbers.tensor(`crf.${name}.mask`))
      const tags = turned(numbers.tensor(`crf.${name}.tags`))
      const value = crf.forward(turned(leaf), tags, { mask, reduction: 'none' })
      value.backward(seed(value))
      await closeTo(t, value, numbers.array(`crf.${name}.likelihood`), 5e-6, 'likelihood')
      const found = [leaf, crf.start_transitions, crf.end_transitions, crf.transitions]
      for (const [i, key] of ['emissions', 'start', 'end', 'transitions'].entries())
        await closeTo(t, found[i]?.grad, numbers.array(`crf.${name}.d${key}`), 5e-6, key)
      const best = turned(crf.decode(turned(leaf), { mask }))
      t.deepEqual(await best.data(), numbers.array(`crf.${name}.best`).data)
    })
  }
}

test('CRF: reductions, one sequence, no mask', async (t) => {
  const crf = crfOf('small')
  const x = numbers.tensor('crf.small.emissions')
  const y = numbers.tensor('crf.small.tags')
  const mask = numbers.tensor('crf.small.mask')
  const each = Array.from(await crf.forward(x, y, { mask, reduction: 'none' }).data())
  const total = each.reduce((a, b) => a + b, 0)
  await closeTo(t, crf.forward(x, y, { mask }), [total], 1e-6)
  await closeTo(t, crf.forward(x, y, { mask, reduction: 'mean' }), [total / 5], 1e-6)
  await closeTo(t, crf.forward(x, y, { mask, reduction: 'tokenMean' }), [total / 31], 1e-6)
  const first = crf.forward(x.select(1, 0), y.select(1, 0), { reduction: 'none' })
  t.deepEqual([...first.shape], [])
  await closeTo(t, first, [each[0] as number], 1e-6)
  t.deepEqual([...crf.decode(x.select(1, 0)).shape], [9])
  await closeTo(
    t,
    crf.forward(x, y, { reduction: 'none' }).slice(0, 0, 1),
    [each[0] as number],
    1e-6,
  )
  t.deepEqual([...crf.clone().stateDict().keys()], [...crf.stateDict().keys()])
})

test('CRF: the likelihoods of all paths add up to 1, and the decoded one is the largest', async (t) => {
  const crf = new nn.CRF(3)
  const x = randomTensor([4, 1, 3], 5).mul(3)
  const values: number[] = []
  for (let path = 0; path < 81; path++) {
    const tags = [0, 1, 2, 3].map((k) => Math.floor(path / 3 ** k) % 3)
    values.push(await crf.forward(x, ints(tags, [4, 1])).item())
  }
  t.true(Math.abs(values.reduce((sum, value) => sum + Math.exp(value), 0) - 1) < 1e-5)
  const best = Array.from(await crf.decode(x).data())
  t.is(
    best.reduce((sum, tag, k) => sum + tag * 3 ** k, 0),
    values.indexOf(Math.max(...values)),
  )
})

test('CRF: finite differences', async (t) => {
  const crf = new nn.CRF(3)
  const x = randomTensor([4, 2, 3], 6, { requiresGrad: true })
  const y = ints([0, 2, 1, 1, 2, 0, 0, 0], [4, 2])
  const mask = ints([1, 1, 1, 1, 1, 1, 1, 0], [4, 2])
  await gradcheck(t, (a) => crf.forward(a, y, { mask }), [x], { module: crf })
})

test('CRF: wrong arguments', (t) => {
  const crf = new nn.CRF(3)
  const x = zeros([4, 2, 3])
  const y = zeros([4, 2], { dtype: 'int32' })
  throwsWith(t, () => new nn.CRF(0), RangeError, /\[CRF\] numTags/)
  throwsWith(t, () => new nn.CRF(2, { batch_first: true } as never), TypeError, /batch_first/)
  throwsWith(t, () => crf.forward(zeros([4, 2, 2]), y), RangeError, /emissions: .*\(T, N, 3\)/)
  throwsWith(t, () => crf.forward(zeros([0, 2, 3]), y), RangeError, /at least one step/)
  throwsWith(t, () => crf.forward(x, zeros([4, 2])), TypeError, /tags: expected an int32 tensor/)
  throwsWith(
    t,
    () => crf.forward(x, zeros([2, 4], { dtype: 'int32' })),
    RangeError,
    /tags: .*\(4, 2\)/,
  )
  throwsWith(
    t,
    () => crf.forward(x, y, { mask: zeros([4, 2]) }),
    TypeError,
    /mask: .*bool or int32/,
  )
  throwsWith(
    t,
    () => crf.decode(x, { mask: ints([1]) }),
    RangeError,
    /mask: expected shape \(4, 2\)/,
  )
  throwsWith(
    t,
    () => crf.forward(x, y, { reduction: 'token_mean' as 'sum' }),
    TypeError,
    /reduction/,
  )
})

test.serial('CRF: what is wrong in tensors rejects the next promise', async (t) => {
  const crf = new nn.CRF(3)
  const x = zeros([3, 2, 3])
  const y = ints([0, 1, 2, 3, 0, 0], [3, 2])
  const reject = (value: Tensor, message: RegExp) => rejectsWith(t, value.data(), Error, message)
  await reject(crf.forward(x, y), /\[CRF\] tags\[3\]: .*below 3, got 3/)
  const mask = ints([1, 1, 1, 0, 1, 0], [3, 2])
  t.true(Number.isFinite(await crf.forward(x, y, { mask }).item()))
  await reject(crf.decode(x, { mask: ints([1, 1, 0, 1, 1, 1], [3, 2]) }), /ones followed by zeros/)
  await reject(crf.decode(x, { mask: ints([1, 0, 1, 1, 1, 1], [3, 2]) }), /first step/)
})
