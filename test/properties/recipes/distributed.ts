/** Right calls of `distributed` and `nn.parallel`, which without a group are refused like wrong ones. */
import { distributed, nn } from 'fused-rnn'
import { call, f, linear, make, type Recipe } from './tools.js'

const { allGather, allReduce, barrier, broadcast } = distributed

export const processes: Record<string, Recipe> = {
  'distributed.isAvailable': call(distributed.isAvailable, () => []),
  'distributed.isNcclAvailable': call(distributed.isNcclAvailable, () => []),
  'distributed.isInitialized': call(distributed.isInitialized, () => []),
  'distributed.rank': call(distributed.rank, () => []),
  'distributed.getRank': call(distributed.getRank, () => []),
  'distributed.worldSize': call(distributed.worldSize, () => []),
  'distributed.getWorldSize': call(distributed.getWorldSize, () => []),
  'distributed.destroy': call(distributed.destroy, () => []),
  'distributed.destroyProcessGroup': call(distributed.destroyProcessGroup, () => []),
  'distributed.barrier': call(barrier, () => []),
  'distributed.allReduce': call(allReduce, () => [f(2, 3), { op: 'avg' }]),
  'distributed.broadcast': call(broadcast, () => [f(2, 3), 0]),
  'distributed.allGather': call(allGather, () => [[f(2, 3)], f(2, 3)]),
  'nn.parallel.DistributedDataParallel': () => {
    const [f, [, options]] = make(nn.parallel.DistributedDataParallel, null, {
      bucketCapMb: 1,
      findUnusedParameters: true,
    })()
    return [f, [linear(), options]]
  },
}
