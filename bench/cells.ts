/**
 * What cells and options cost beside the plain cell, on a machine that is not quiet: processor time on one
 * thread, forward and backward in turns in one process. `node dist-bench/cells.js [ROUNDS] [PATTERN]` after
 * `npm run build && npm run build:bench`. The workloads are those of `npm run bench -- --list cells`,
 * which measures whole seconds on all threads, and PyTorch's beside.
 */
import { setNumThreads, synchronize } from 'fused-rnn'
import { spread } from '#bench/measure.js'
import { build, type Task } from '#bench/peers/models.js'
import { range } from '#bench/table.js'
import { cells } from '#bench/workloads.js'

const rounds = Number(process.argv[2] ?? 7)
const pattern = new RegExp(process.argv[3] ?? '')
setNumThreads(1)

/** Processor time of forward and backward. */
async function time({ model, backward }: Task): Promise<number> {
  model.zeroGrad()
  await synchronize()
  const before = process.cpuUsage()
  backward()
  await synchronize()
  const { user, system } = process.cpuUsage(before)
  return user + system
}

console.log('| workload | speed over the plain cell’s |\n| --- | ---: |')
for (const w of cells.filter(({ name }) => pattern.test(name))) {
  const { variant: _, ...plain } = w
  const tasks = [build(plain), build(w)] as const
  const ratios: number[] = []
  for (let round = -1; round < rounds; round++) {
    const ratio = (await time(tasks[0])) / (await time(tasks[1]))
    if (round >= 0) ratios.push(ratio)
  }
  console.log(`| ${w.name} | ${range(spread(ratios))} |`)
}
