/** What goes wrong in one process, `process.argv[2]`, and is to end all. */
import { distributed, nn, ones, tensor } from 'fused-rnn'
import { backend } from './backend.js'

const how = process.argv[2]
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
} else {
  const x = tensor([1])
  distributed.allReduce(x)
  await x.data()
  if (rank === last) {
    if (how === 'throws') throw new RangeError('the last one has had enough')
    if (how === 'rejects') Promise.reject(new RangeError('the last one has had enough'))
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
