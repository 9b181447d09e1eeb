/** What goes wrong in one process, `process.argv[2]`, and is to end all. */
import { spawn } from 'node:child_process'
import { distributed, nn, ones, tensor, zeros } from 'fused-rnn'
import { backend } from './backend.js'

const how = process.argv[2]
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
if (how === 'waits') {
  if (process.env.OMPI_COMM_WORLD_RANK !== '0') await wait(1_800_000)
  setTimeout(() => {
    throw new RangeError('the first one has waited enough')
  }, 500)
}
/** In ms, of those ways that are about it. */
const timeout = Number(process.argv[3])
const ends = ['sleeps', 'stops', 'handles', 'rests'].includes(how ?? '')
if (how === 'stays away') {
  if (process.env.OMPI_COMM_WORLD_RANK === '2') {
    // mpirun may leave a process behind that has not joined.
    const launcher = process.ppid
    while (process.ppid === launcher) await wait(100)
    process.exit()
  }
  await distributed.init({ backend, timeout: 1500 })
}
await distributed.init({ backend, ...(ends && { timeout }) })
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
} else if (how === 'sleeps' || how === 'stops') {
  const x = tensor([1])
  // One that works: NCCL's communicator is made before it.
  distributed.allReduce(x)
  await x.data()
  if (rank === last && how === 'stops') process.kill(process.pid, 'SIGSTOP')
  if (rank === last) await wait(1_800_000)
  distributed.allReduce(x)
  await x.data()
} else if (how === 'rests') {
  // All compute for longer than the timeout; then all are stopped for as long, as a scheduler does.
  await wait(1.5 * timeout)
  const pids = Array.from({ length: last + 1 }, () => tensor([0], { dtype: 'int32' }))
  distributed.allGather(pids, tensor([process.pid], { dtype: 'int32' }))
  let over = rank > 0
  if (rank === 0) {
    const all = (await Promise.all(pids.map((pid) => pid.item()))).join(' ')
    const script = `kill -STOP ${all}; sleep ${(1.5 * timeout) / 1000}; kill -CONT ${all}`
    spawn('sh', ['-c', script]).on('close', () => {
      over = true
    })
  }
  for (let said = 0; said < last + 1; ) {
    const all = tensor([over ? 1 : 0])
    distributed.allReduce(all)
    said = await all.item()
    await wait(10)
  }
} else if (how === 'handles') {
  // The error is heard, and the process goes on all the same.
  const x = tensor([1, 2])
  if (rank !== last) {
    distributed.broadcast(x, 0)
    await x.data().catch((error: Error) => console.error(`heard: ${error.message}`))
    if (backend === 'nccl') console.error('heard: a GPU cannot tell')
  }
  await wait(1_800_000)
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
  setTimeout(() => {}, 1_800_000)
  distributed.allReduce(x)
  await x.data()
}
