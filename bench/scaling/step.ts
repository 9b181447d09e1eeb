/**
 * Training steps of one workload, alone or with the other processes of mpirun; rank 0 prints a line of
 * JSON. Arguments: the name of the workload, how many sequences this process has, seconds to measure.
 */
import { distributed, manualSeed, nn, optim, setNumThreads, synchronize, tensor } from 'fused-rnn'
import { build } from '#bench/peers/models.js'
import { workloads } from '#bench/workloads.js'

/** What the addon counts of a process's collectives; see ts/binding.ts. */
interface Traffic {
  bytes: number
  calls: number
  /** During which a collective was under way, and of these during which the queue waited for it. */
  seconds: number
  waited: number
}
const internal = new URL('../../dist/binding.js', import.meta.url).href
const { binding } = (await import(internal)) as { binding: { traffic(): Traffic } }

const [name = '', batch = '', seconds = '5'] = process.argv.slice(2)
const found = workloads.find((workload) => workload.name === name)
if (found === undefined) throw new Error(`there is no workload '${name}'`)
const workload = { ...found, batch: Number(batch) }

setNumThreads(1)
await distributed.init()
const [rank, size] = [distributed.rank(), distributed.worldSize()]
manualSeed(rank)
const { model, backward } = build(workload)
if (size > 1) new nn.parallel.DistributedDataParallel(model)
const optimizer = new optim.SGD(model.parameters(), { lr: 0.1, maxGradNorm: 1 })
async function steps(count: number): Promise<number> {
  await distributed.barrier()
  const start = performance.now()
  for (let i = 0; i < count; i++) {
    optimizer.zeroGrad()
    backward()
    await optimizer.step()
  }
  await synchronize()
  await distributed.barrier()
  return (performance.now() - start) / 1000
}

// As many in all processes: rank 0 says how many.
const guess = await steps(5)
const each = tensor([Math.max(5, Math.ceil(Number(seconds) / 3 / (guess / 5)))], { dtype: 'int32' })
distributed.broadcast(each, 0)
const count = (await each.data())[0] as number
const times: number[] = []
const before = binding.traffic()
for (let round = 0; round < 3; round++) times.push((await steps(count)) / count)
const after = binding.traffic()
const per = (key: keyof Traffic): number => (after[key] - before[key]) / (3 * count)
const parameters = model.parameters().reduce((sum, { numel }) => sum + numel, 0)
if (rank === 0) {
  console.log(
    JSON.stringify({
      parameters,
      times: times.sort((a, b) => a - b),
      bytes: per('bytes'),
      calls: per('calls'),
      seconds: per('seconds'),
      waited: per('waited'),
    }),
  )
}
