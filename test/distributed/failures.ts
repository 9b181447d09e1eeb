/** What goes wrong in one process, `process.argv[2]`, and is to end all. */
import { distributed, nn, ones, tensor, zeros } from 'fused-rnn'
import { backend } from './backend.js'

const how = process.argv[2]
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
if (how === 'waits') {
  if (process.env.OMPI_COMM_WORLD_RANK !== '0') await wait(60_000)
  setTimeout(() => {
    throw new RangeError('the first one has waited enough')
  }, 500)
}
await distributed.init({ backend })
const rank = distributed.rank()
const last = distributed.worldSize() - 1

if (how === 'mismatch') {
  const model = new nn.Sequential(new nn.Linear(2, 3), new nn.Linear(3, rank === last ? 5 : 4))
  new nn.parallel.DistributedDataParallel(model)
  await model.parameters()[0]?.data()
} else if (how === 'count') {
  const layers = rank === last ? [new nn.Linear(2, 3)] : [new nn.Linear(2, 3), new nn.Linear(3, 3)]
  const ddp = new nn.parallel.DistributedDataParallel(new nn.Sequential(...layers))
  ddp
    .forward(ones([1, 2]))
    .sum()
    .backward()
  await ddp.parameters()[0]?.data()
} else if (how === 'poisoned') {
  const bad = new nn.Embedding(4, 2).forward(tensor([rank === last ? 7 : 1], { dtype: 'int32' }))
  const good = tensor([1])
  distributed.allReduce(bad.detach())
  distributed.allReduce(good)
  await good.data()
} else if (how === 'differs') {
  const x = zeros([rank === last ? 500_000 : 300_000])
  distributed.allReduce(x)
  await x.data()
} else if (how === 'order') {
  const x = tensor([1])
  if (rank === last) distributed.broadcast(x, 1)
  else distributed.allReduce(x)
  await x.data()
} else if (how === 'bucket') {
  new nn.parallel.DistributedDataParallel(new nn.Linear(2, 3), {
    bucketCapMb: rank === last ? 1 : 25,
  })
  await distributed.barrier()
} else if (how === 'backward') {
  // A bucket for each parameter: those of the second layer are on their way when the first fails.
  const [a, b] = [new nn.Linear(2, 2), new nn.Linear(2, 1)] as const
  const model = new nn.Sequential(a, b)
  const ddp = new nn.parallel.DistributedDataParallel(model, { bucketCapMb: 1e-6 })
  const hidden = a.forward(ones([1, 2]))
  if (rank === last) ddp.noSync(() => hidden.sum().backward())
  try {
    b.forward(hidden).sum().backward()
  } catch {
    ddp.zeroGrad()
    ddp
      .forward(ones([1, 2]))
      .sum()
      .backward()
  }
  await distributed.barrier()
} else if (how === 'early') {
  // The last one is ready, and ends, before another has begun to receive.
  const x = zeros([5_000_000])
  if (rank === 1) await wait(2500)
  distributed.broadcast(x, 0)
  await x.data()
} else {
  const x = tensor([1])
  distributed.allReduce(x)
  await x.data()
  if (rank === last) {
    if (how === 'throws') throw new RangeError('the last one has had enough')
    if (how === 'rejects') void Promise.reject(new RangeError('the last one has had enough'))
    if (how === 'killed') process.kill(process.pid, 'SIGKILL')
    if (how === 'exits') process.exit(3)
    if (how === 'leaves') process.exit(0)
    if (how === 'index') {
      // Found by the queue, and never awaited: the gradients are not there when they are wanted.
      const table = new nn.Embedding(4, 2)
      table.forward(tensor([7], { dtype: 'int32' }))
      await x.data()
    }
  }
  // The others wait for ever.
  setTimeout(() => {}, 60_000)
  distributed.allReduce(x)
  await x.data()
}
