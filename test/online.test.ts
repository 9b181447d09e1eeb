/** OnlineLearner and states as bytes: learning while predicting, bounded memory, errors. */
import test from 'ava'
import { manualSeed, models, nn, OnlineLearner, optim, type Tensor, tensor, utils } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

class Net extends nn.Module {
  rnn: nn.GRU | nn.LSTM
  head = new nn.Linear(8, 2)
  constructor(kind: 'gru' | 'lstm' = 'gru') {
    super()
    this.rnn = kind === 'gru' ? new nn.GRU(2, 8) : new nn.LSTM(2, 8)
  }
  override forward(input: Tensor, state?: never): [Tensor, unknown] {
    const [output, next] = (this.rnn as nn.GRU).forward(input, state)
    return [this.head.forward(output), next]
  }
}

const learner = (options: Partial<ConstructorParameters<typeof OnlineLearner>[1]> = {}) => {
  manualSeed(1)
  const model = new Net()
  const optimizer = new optim.Adam(model.parameters(), { lr: 0.02 })
  return new OnlineLearner(model, { optimizer, window: 4, snapshotEvery: 5, ...options })
}
const row = (i: number): number[] => [Math.sin(i), Math.cos(i)]

test('it learns what comes next, for clients side by side', async (t) => {
  const online = learner({ replay: 1 })
  const errors: number[] = []
  for (let i = 0; i < 150; i++) {
    await Promise.all(
      ['a', 'b'].map(async (id, k) => {
        const predicted = await online.predict(id, row(i + k))
        const next = row(i + k + 1)
        errors.push(Math.abs((predicted[0] as number) - (next[0] as number)))
        await online.update(id, row(i + k))
      }),
    )
  }
  const mean = (list: number[]): number => list.reduce((a, b) => a + b, 0) / list.length
  t.true(mean(errors.slice(-50)) < 0.5 * mean(errors.slice(0, 50)), String(mean(errors.slice(-50))))
  t.is(online.clients, 2)
  t.is(models.OnlineLearner, OnlineLearner)
})

test('predictions see whole snapshots only', async (t) => {
  const online = learner({ snapshotEvery: 3 })
  const weight = async (): Promise<number[]> => [...(await online.snapshot.head.weight.data())]
  const before = await weight()
  t.is((await online.update(1, row(0))).loss, null)
  t.true(((await online.update(1, row(1))).loss as number) > 0)
  await online.update(1, row(2))
  t.deepEqual(await weight(), before)
  await online.update(1, row(3))
  t.deepEqual(await weight(), [...(await online.model.head.weight.data())])
  t.notDeepEqual(await weight(), before)
})

test('updates that come together are one step, of the mean loss', async (t) => {
  const online = learner()
  for (const id of [1, 2, 3]) void online.update(id, row(id))
  const results = await Promise.all([1, 2, 3].map((id) => online.update(id, row(id + 1))))
  t.is(online.updates, 2) // the first at once, the others meanwhile
  t.true(results.every(({ loss }) => (loss as number) > 0))
})

test('clients are forgotten, the one that was silent longest first, and can be restored', async (t) => {
  const online = learner({ maxClients: 2 })
  for (const id of ['a', 'b']) await online.predict(id, row(1))
  const bytes = await online.stateOf('a')
  const expected = await online.predict('a', row(2))
  await online.predict('c', row(1))
  t.is(online.clients, 2)
  t.false(online.forget('b'))
  t.true(online.forget('a'))
  t.notDeepEqual(await online.predict('a', row(2)), expected)
  online.restore('a', bytes)
  t.deepEqual(await online.predict('a', row(2)), expected)
})

test('states as bytes, to the bit', async (t) => {
  const model = new Net('lstm')
  const [, state] = model.forward(tensor([[[1, 2]]])) as [Tensor, [Tensor, Tensor]]
  const [h, c] = utils.stateFromBytes<[Tensor, Tensor]>(await utils.stateToBytes(state))
  t.deepEqual(await h.data(), await state[0].data())
  t.deepEqual(await c.data(), await state[1].data())
  t.is(utils.stateFromBytes(await utils.stateToBytes(null)), null)
  throwsWith(
    t,
    () => utils.stateFromBytes(new Uint8Array(20)),
    RangeError,
    /the bytes that stateToBytes gave/,
  )
  throwsWith(t, () => utils.stateFromBytes('x' as never), TypeError, /stateToBytes/)
  await rejectsWith(t, utils.stateToBytes({ f: () => 1 }), TypeError, /plain data/)
})

test('errors', async (t) => {
  const online = learner()
  await online.predict('a', row(1))
  throwsWith(t, () => online.predict('a', [1]), RangeError, /2 numbers, as before/)
  throwsWith(
    t,
    () => online.update('a', [1, Number.NaN]),
    RangeError,
    /row\[1\]: expected a finite number/,
  )
  throwsWith(t, () => online.update({} as never, [1, 2]), TypeError, /clientId/)
  throwsWith(t, () => online.restore('a', new Uint8Array(3)), RangeError, /stateToBytes/)
  await rejectsWith(t, online.stateOf('nobody'), RangeError, /a client that is remembered/)
  throwsWith(t, () => new OnlineLearner({} as never, {} as never), TypeError, /a module/)
  throwsWith(t, () => learner({ window: 0 }), RangeError, /window/)
  const bad = learner({ loss: (p) => p.sum().mul(Number.NaN) })
  await bad.update(1, row(0))
  const before = [...(await bad.model.head.weight.data())]
  await rejectsWith(t, bad.update(1, row(1)), RangeError, /not applied/)
  t.deepEqual([...(await bad.model.head.weight.data())], before)
})
