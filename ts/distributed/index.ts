/** Training with several processes; as `torch.distributed`. */
export {
  type AllReduceOptions,
  allGather,
  allReduce,
  barrier,
  broadcast,
  type ReduceOp,
} from './collectives.js'
export {
  type DistributedBackend,
  destroy,
  destroy as destroyProcessGroup,
  type InitOptions,
  init,
  init as initProcessGroup,
  isAvailable,
  isInitialized,
  isNcclAvailable,
  rank,
  rank as getRank,
  worldSize,
  worldSize as getWorldSize,
} from './group.js'
