/** What these programs join the others by: a GPU's own way where the tests are on one. */
import type { distributed } from 'fused-rnn'
import { onCpu } from '../helpers.js'

/** With the argument 'mpi' a GPU's values go by way of the host. */
export const backend: distributed.DistributedBackend =
  process.argv[2] === 'mpi' || onCpu ? 'mpi' : 'nccl'
