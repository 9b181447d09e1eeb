/** metrics: numbers worked out by hand (and those of scikit-learn and torchmetrics), and the errors. */
import test from 'ava'
import { metrics, tensor } from 'fused-rnn'
import './helpers.js'

const near = (actual: number, expected: number): boolean => Math.abs(actual - expected) < 1e-12

test('of numbers', (t) => {
  const [p, y] = [
    [1, 2, 4],
    [2, 2, 0],
  ]
  t.true(near(metrics.mae(p, y), 5 / 3))
  t.true(near(metrics.rmse(p, y), Math.sqrt(17 / 3)))
  t.true(near(metrics.smape(p, y), (2 / 3 + 0 + 2) / 3))
  t.is(metrics.smape([0], [0]), 0)
  // Differences of the history: 1, 1, 2; of every other number: 2, 3.
  t.true(near(metrics.mase(p, y, [1, 2, 3, 5]), 5 / 3 / (4 / 3)))
  t.true(near(metrics.mase(p, y, [1, 2, 3, 5], 2), 5 / 3 / 2.5))
  t.true(near(metrics.quantileLoss(p, y, 0.9), (0.9 + 0 + 0.4) / 3))
  t.is(metrics.coverage([0, 0, 0], [1, 3, 5], [2, 2, 0]), 2 / 3)
  t.is(metrics.mae(Float32Array.of(1, 2), new Int32Array([1, 4])), 1)
})

test('of classes', (t) => {
  const [p, y] = [
    ['a', 'b', 'b', 'c', 'a'],
    ['a', 'b', 'c', 'c', 'b'],
  ]
  t.is(metrics.accuracy(p, y), 0.6)
  t.deepEqual(metrics.confusionMatrix(p, y), [
    [1, 0, 0],
    [1, 1, 0],
    [0, 1, 1],
  ])
  t.deepEqual(metrics.confusionMatrix(['x'], ['y'], { classes: ['y', 'x', 'z'] }), [
    [0, 1, 0],
    [0, 0, 0],
    [0, 0, 0],
  ])
  t.true(near(metrics.f1(p, y), (2 / 3 + 1 / 2 + 2 / 3) / 3))
  t.true(near(metrics.f1(p, y, { average: 'weighted' }), (2 / 3 + 2 / 2 + (2 * 2) / 3) / 5))
  t.true(near(metrics.f1(p, y, { average: 'micro' }), 0.6))
  t.true(near(metrics.f1(p, y, { positive: 'b' }), 1 / 2))
  t.true(near(metrics.f1([true, true, false], [true, false, true]), 1 / 2))
  t.true(near(metrics.f1([1, 1, 0], [1, 0, 0]), 2 / 3))
  t.is(metrics.f1([0, 0], [0, 0]), 0)
})

test('of sequences', (t) => {
  const right = ['B-PER', 'I-PER', 'O', 'B-LOC']
  t.is(metrics.spanF1([right], [right]), 1)
  // One of two found, with one that is not there.
  t.is(metrics.spanF1([['B-PER', 'O', 'O', 'B-LOC']], [right]), 0.5)
  t.is(metrics.spanF1([['I-PER', 'I-PER', 'O', 'S-LOC']], [right]), 1)
  t.is(metrics.spanF1([['O']], [['O']]), 1)
  t.is(metrics.spanF1([['B-A', 'B-A']], [['B-A', 'I-A']]), 0)
  t.is(metrics.errorRate(['sitting'], ['kitten']), 0.5)
  t.is(
    metrics.errorRate(
      [['a', 'b'], ['c']],
      [
        ['a', 'b'],
        ['d', 'e'],
      ],
    ),
    0.5,
  )
  t.is(metrics.errorRate(['😀'], ['😀a']), 0.5)
})

test('classes over batches give what the functions give of all', async (t) => {
  const [p, y] = [
    [0, 1, 1, 2, 0],
    [0, 1, 2, 2, 1],
  ]
  const all = [
    new metrics.Accuracy({ numClasses: 3 }),
    new metrics.F1Score({ numClasses: 3 }),
    new metrics.ConfusionMatrix({ numClasses: 3 }),
  ] as const
  for (const metric of all) {
    metric.update(p.slice(0, 2), y.slice(0, 2))
    metric.update(tensor(p.slice(2), { dtype: 'int32' }), tensor(y.slice(2), { dtype: 'int32' }))
  }
  t.is(await all[0].compute(), metrics.accuracy(p, y))
  t.true(near(await all[1].compute(), metrics.f1(p, y)))
  t.deepEqual(await all[2].compute(), metrics.confusionMatrix(p, y))
  const logits = tensor([
    [0, 3, 1],
    [5, 3, 1],
  ])
  const binary = new metrics.F1Score({ numClasses: 3, positive: 1, ignoreIndex: -1 })
  binary.update(logits, [1, -1])
  t.is(await binary.compute(), 1)
  all[0].reset()
  await t.throwsAsync(all[0].compute(), { message: /Accuracy.compute.*at least one batch/ })
})

test('MeanAbsoluteError and Perplexity', async (t) => {
  const error = new metrics.MeanAbsoluteError()
  error.update([1, 2], [2, 4])
  error.update(tensor([[5]]), tensor([[2]]))
  t.is(await error.compute(), 2)
  const perplexity = new metrics.Perplexity({ ignoreIndex: 7 })
  const logits = tensor(
    [
      [Math.log(1), Math.log(3)],
      [0, 0],
      [0, 0],
    ].map((row) => [row, row]),
  )
  perplexity.update(
    logits,
    tensor(
      [
        [1, 0],
        [0, 7],
        [7, 7],
      ],
      { dtype: 'int32' },
    ),
  ) // ¾, ¼, ½
  t.true(Math.abs((await perplexity.compute()) - (0.75 * 0.25 * 0.5) ** (-1 / 3)) < 1e-6)
  perplexity.update(tensor([[0, 0]]), tensor([5], { dtype: 'int32' }))
  await t.throwsAsync(perplexity.compute())
})

test('errors name the element', (t) => {
  const no = (f: () => unknown, message: RegExp): void => {
    t.throws(f, { message })
  }
  no(() => metrics.mae([1, Number.NaN], [1, 2]), /\[mae\] predicted\[1\].*missing.*NaN/)
  no(() => metrics.mae([1], [1, 2]), /\[mae\] target: expected 1 elements.*got 2/)
  no(() => metrics.mae([], []), /at least one element/)
  no(() => metrics.mae('1' as never, [1]), /an array of numbers/)
  no(() => metrics.mase([1], [1], [1, 1, 1]), /differ from season to season/)
  no(() => metrics.mase([1], [1], [1, 2], 2), /more than 2 numbers/)
  no(() => metrics.quantileLoss([1], [1], 1), /between 0 and 1/)
  no(() => metrics.coverage([2], [1], [1]), /lower\[0\]: expected at most upper\[0\]/)
  no(() => metrics.f1(['a'], ['b'], { positive: 'c' }), /a label that occurs/)
  no(() => metrics.confusionMatrix(['a'], ['b'], { classes: ['a'] }), /every label/)
  no(() => metrics.spanF1([['O']], [['O', 'O']]), /predicted\[0\]: expected 2 tags/)
  no(() => metrics.errorRate([''], ['']), /at least one token/)
  no(() => new metrics.Accuracy({ numClasses: 1 }), /numClasses/)
  no(() => new metrics.Accuracy({ numClasses: 3 }).update([3], [0]), /predicted\[0\]/)
})
