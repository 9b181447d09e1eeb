/** Every collective, and what is refused. Prints what rank 0 found. */
import { distributed, nn, type Tensor, tensor } from 'fused-rnn'
import { backend } from './backend.js'

const { allGather, allReduce, barrier, broadcast } = distributed

await distributed.init({ backend })
const rank = distributed.rank()
const size = distributed.worldSize()

const values = async (x: Tensor): Promise<number[]> => [...(await x.data())]
const message = async (f: () => unknown): Promise<string> => {
  try {
    await f()
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

const found: Record<string, unknown> = { rank, size }
for (const op of ['sum', 'avg', 'min', 'max', 'product'] as const) {
  const x = tensor([rank + 1, -rank])
  allReduce(x, { op })
  found[op] = await values(x)
  if (op === 'avg') continue
  const whole = tensor([rank + 1, -rank], { dtype: 'int32' })
  allReduce(whole, { op })
  found[`${op} of int32`] = await values(whole)
}
const large = tensor(new Float32Array(1_000_003).fill(rank))
allReduce(large)
const sums = await large.data()
found.large = sums.every((value) => value === (size * (size - 1)) / 2)

// As many as fit into the queue, none awaited in between.
const many = Array.from({ length: 50 }, (_, i) => tensor([i + rank]))
for (const x of many) allReduce(x)
found.many = (await Promise.all(many.map(values))).flat()

const from = tensor([[rank, 10 * rank]])
broadcast(from, size - 1)
found.broadcast = await values(from)
const list = Array.from({ length: size }, () => tensor([0, 0]))
allGather(list, tensor([rank, rank * rank]))
found.allGather = (await Promise.all(list.map(values))).flat()

// A process that comes late is waited for, and a timer goes on meanwhile.
let ticks = 0
const timer = setInterval(() => ticks++, 5)
if (rank === size - 1) await new Promise((resolve) => setTimeout(resolve, 600))
await barrier()
clearInterval(timer)
found.ticks = ticks

found.refused = [
  await message(() => distributed.init()),
  await message(() => broadcast(from, size)),
  await message(() => allGather(list.slice(1), tensor([1, 2]))),
  await message(() => allGather(list, tensor([1, 2, 3]))),
  await message(() => allReduce(tensor([1], { dtype: 'int32' }), { op: 'avg' })),
]

// One layer after the other is used; the second needs findUnusedParameters.
class Two extends nn.Module {
  a = new nn.Linear(2, 1)
  b = new nn.Linear(2, 1)
  override forward(x: Tensor, both: boolean): Tensor {
    const y = this.a.forward(x)
    return both ? y.add(this.b.forward(x)) : y
  }
}
const two = new nn.parallel.DistributedDataParallel(new Two())
found.names = [...two.stateDict().keys()]
found.again = await message(() => new nn.parallel.DistributedDataParallel(two.module))
const x = tensor([[rank, 1]])
two.forward(x, true).sum().backward()
found.mean = await values(two.module.a.weight.grad as Tensor)
two.zeroGrad()
found.unused = await message(() => two.forward(x, false).sum().backward())
two.zeroGrad()
// Gradients of their own, then averaged with those of the last.
two.noSync(() => two.forward(x, true).sum().backward())
found.own = (await values(two.module.a.weight.grad as Tensor))[0] === rank
// Those that overlap, whichever ends first, leave nothing behind.
await Promise.all([1, 2].map((ms) => two.noSync(() => new Promise((done) => setTimeout(done, ms)))))
two.forward(x, true).sum().backward()
found.accumulated = await values(two.module.a.weight.grad as Tensor)
const some = new nn.parallel.DistributedDataParallel(new Two(), { findUnusedParameters: true })
// In some processes only: the gradient is the mean all the same.
some
  .forward(x, rank === 0)
  .sum()
  .backward()
found.partly = await values(some.module.b.weight.grad as Tensor)

await distributed.destroy()
found.after = await message(() => allReduce(x))
await distributed.init({ backend })
const again = tensor([1])
allReduce(again)
found.second = await values(again)
if (rank === 0) console.log(JSON.stringify(found))
