/** What each of several processes gets of the data. Needs no other process. */
import test from 'ava'
import { data, Trainer } from 'fused-rnn'
import { onCpu, throwsWith } from './helpers.js'

// Numbers of script, on any device.
const once = onCpu ? test : test.skip

const ranks = (size: number): number[] => Array.from({ length: size }, (_, rank) => rank)

once('DistributedSampler: every example once in an epoch, in an order that all know', (t) => {
  const make = (rank: number, options: data.DistributedSamplerOptions = {}) =>
    new data.DistributedSampler(10, { numReplicas: 3, rank, ...options })
  const plain = ranks(3).map((rank) => [...make(rank, { shuffle: false })])
  // As PyTorch's: the first are repeated.
  t.deepEqual(plain, [
    [0, 3, 6, 9],
    [1, 4, 7, 0],
    [2, 5, 8, 1],
  ])
  const dropped = ranks(3).map((rank) => [...make(rank, { shuffle: false, dropLast: true })])
  t.deepEqual(dropped, [
    [0, 3, 6],
    [1, 4, 7],
    [2, 5, 8],
  ])
  const orders = [0, 1].map((epoch) => {
    const all = ranks(3).map((rank) => {
      const sampler = make(rank, { seed: 4 })
      sampler.setEpoch(epoch)
      t.is(sampler.length, 4)
      return [...sampler]
    })
    t.deepEqual([...new Set(all.flat())].sort(), ranks(10))
    return all
  })
  t.notDeepEqual(orders[0], orders[1])
  t.deepEqual([...make(1, { seed: 4 })], orders[0]?.[1])
  t.is(new data.DistributedSampler([1, 2, 3], { numReplicas: 2, rank: 0 }).length, 2)
})

once('DistributedSampler: errors', (t) => {
  const make = (...args: unknown[]) => Reflect.construct(data.DistributedSampler, args)
  throwsWith(t, () => make(10), TypeError, /\[DistributedSampler\] this process is in no group/)
  throwsWith(
    t,
    () => make('x'),
    TypeError,
    /\[DistributedSampler\] dataset: expected a whole number/,
  )
  throwsWith(
    t,
    () => make(10, { numReplicas: 2, rank: 2 }),
    RangeError,
    /\[DistributedSampler\] rank: expected a whole number between 0 and 1, got 2/,
  )
  throwsWith(
    t,
    () => make(2, { numReplicas: 3, rank: 2, dropLast: true }),
    RangeError,
    /\[DistributedSampler\] dataset: expected at least 3 examples, one for each process, got 2/,
  )
})

const tokens = Int32Array.from({ length: 200 }, (_, i) => i)
const sentences = Array.from({ length: 11 }, (_, i) => tokens.slice(9 * i, 9 * i + 4))
const sources = {
  SequentialBatches: () => new data.SequentialBatches(tokens, { batchSize: 5, sequenceLength: 6 }),
  RandomWindows: () => new data.RandomWindows(tokens, { batchSize: 7, sequenceLength: 6, seed: 2 }),
  BucketBatches: () => new data.BucketBatches(sentences, { batchSize: 5, seed: 2 }),
}

for (const [name, source] of Object.entries(sources)) {
  for (const size of [1, 2, 4]) {
    once(`DistributedBatches: ${size} parts of ${name} are the whole`, async (t) => {
      const whole = [...source().batches(3)]
      const parts = ranks(size).map((rank) => {
        const part = new data.DistributedBatches(source(), { numReplicas: size, rank })
        t.is(part.length, whole.length)
        t.is(part.largestToken, source().largestToken)
        return [...part.batches(3)]
      })
      for (const [i, batch] of whole.entries()) {
        const own = parts.map((part) => part[i] as data.Batch)
        t.true(own.every(({ reset }) => reset === batch.reset))
        for (const key of ['input', 'target'] as const) {
          const [steps, columns] = batch[key].shape as [number, number]
          const expected = await batch[key].data()
          let at = 0
          for (const part of own) {
            const values = await part[key].data()
            const width = part[key].shape[1] as number
            t.is(part[key].shape[0], steps)
            // Padding: a copy of the first column, which has no weight.
            const from = part.tokens === 0 ? 0 : at
            for (let k = 0; k < values.length; k++) {
              const [step, column] = [Math.floor(k / width), k % width]
              t.is(values[k], expected[step * columns + from + column])
            }
            if (part.tokens > 0) at += width
          }
          t.is(at, columns)
        }
        t.is(
          own.reduce((sum, part) => sum + part.tokens, 0),
          batch.tokens,
        )
      }
    })
  }
}

once('DistributedBatches: a state is that of the whole, for any number of processes', async (t) => {
  const part = new data.DistributedBatches(sources.RandomWindows(), { numReplicas: 2, rank: 1 })
  const iterator = part[Symbol.iterator]()
  iterator.next()
  iterator.next()
  const state = part.state()
  t.is(state.position, 2)
  const other = new data.RandomWindows(tokens, { batchSize: 7, sequenceLength: 6, seed: 9 })
  other.restore(state)
  const [next] = other
  const expected = [...sources.RandomWindows().batches(0)][2]
  t.deepEqual(await next?.input.data(), await expected?.input.data())
  const again = new data.DistributedBatches(other, { numReplicas: 3, rank: 0 })
  again.restore(state)
  const [column] = again
  t.deepEqual(column?.input.shape, [6, 2])
})

once('DistributedBatches: errors', (t) => {
  const make = (...args: unknown[]) => Reflect.construct(data.DistributedBatches, args)
  const source = sources.SequentialBatches()
  throwsWith(t, () => make(source), TypeError, /\[DistributedBatches\] this process is in no group/)
  throwsWith(
    t,
    () => make([], { numReplicas: 2, rank: 0 }),
    TypeError,
    /\[DistributedBatches\] batches: expected SequentialBatches, RandomWindows or BucketBatches/,
  )
  throwsWith(
    t,
    () => make(source, { numReplicas: 6, rank: 0 }),
    RangeError,
    /\[DistributedBatches\] batches: expected a batchSize of at least 6, a column for each process, got 5/,
  )
  const part = { rank: 2, size: 2 }
  throwsWith(t, () => source.batches(0, 0, part).next(), RangeError, /\[batches\] part\.rank/)
  throwsWith(
    t,
    () => new Trainer({ strategy: 'dp' as 'ddp' }),
    TypeError,
    /\[Trainer\] strategy: expected one of 'auto', 'ddp', 'single', got 'dp'/,
  )
})
