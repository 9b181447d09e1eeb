/** nn.functional.ctcDecode beside all ways added up. */
import test from 'ava'
import { nn, tensor } from 'fused-rnn'
import { randomTensor, throwsWith } from './helpers.js'

const { ctcDecode } = nn.functional

const collapsed = (way: readonly number[], blank: number): string =>
  way.filter((c, i) => c !== blank && c !== way[i - 1]).join()

test('greedy: repeated classes once, without blanks; lengths', async (t) => {
  const path = [1, 1, 0, 1, 2, 2, 0]
  const logits = tensor(path.map((c) => [0, 1, 2].map((k) => (k === c ? 5 : 0)))).unsqueeze(1)
  const logProbs = logits.logSoftmax(2)
  t.deepEqual((await ctcDecode(logProbs))[0]?.tokens, [1, 1, 2])
  t.deepEqual((await ctcDecode(logProbs, [4]))[0]?.tokens, [1, 1])
  t.deepEqual((await ctcDecode(logProbs, [7], { blank: 2 }))[0]?.tokens, [1, 0, 1, 0])
  t.deepEqual(await ctcDecode(logProbs, [0], { beamSize: 3 }), [{ tokens: [], score: 0 }])
})

test('a wide beam finds the likeliest labels of all ways', async (t) => {
  const [time, batch, classes] = [5, 3, 3]
  const logProbs = randomTensor([time, batch, classes], 3).mul(2).logSoftmax(2)
  const data = await logProbs.data()
  const found = await ctcDecode(logProbs, null, { blank: 1, beamSize: 200 })
  for (let n = 0; n < batch; n++) {
    const sums = new Map<string, number>()
    for (let code = 0; code < classes ** time; code++) {
      const way = Array.from({ length: time }, (_, i) => Math.floor(code / classes ** i) % classes)
      const p = way.reduce((sum, c, i) => sum + (data[(i * batch + n) * classes + c] as number), 0)
      const key = collapsed(way, 1)
      sums.set(key, (sums.get(key) ?? 0) + Math.exp(p))
    }
    const [labels, p] = [...sums].sort(([, a], [, b]) => b - a)[0] as [string, number]
    t.is(found[n]?.tokens.join(), labels)
    t.true(Math.abs((found[n]?.score as number) - Math.log(p)) < 1e-4)
  }
})

test('errors', (t) => {
  const x = tensor([[[0, 0]]])
  throwsWith(t, () => ctcDecode(tensor([[0, 0]])), RangeError, /shape \(T, N, C\)/)
  throwsWith(t, () => ctcDecode(x, [2]), RangeError, /inputLengths\[0\]/)
  throwsWith(t, () => ctcDecode(x, [1, 1]), RangeError, /1 lengths/)
  throwsWith(t, () => ctcDecode(x, null, { blank: 2 }), RangeError, /blank/)
  throwsWith(t, () => ctcDecode(x, null, { beamSize: 0 }), RangeError, /beamSize/)
  throwsWith(t, () => ctcDecode([] as never), TypeError, /a tensor|float32/)
})
