/** The processes that mpirun has started, which train one model together. */
import { binding } from '../binding.js'
import { distributed } from '../index.js'
import { oneOf } from './errors.js'

/** Joins the others, if there are any. */
export async function joinOthers(): Promise<{ rank: number; size: number }> {
  if (binding.launchedProcesses() === 1) return { rank: 0, size: 1 }
  await distributed.init()
  const processes = { rank: distributed.rank(), size: distributed.worldSize() }
  oneOf(processes)
  return processes
}

/** `cuda` is another GPU in every process of a machine, as long as there are more. */
export function ownDevice(name: string): string {
  const gpus = binding.cuda().devices.length
  const local = binding.localRank()
  return name === 'cuda' && local > 0 && gpus > 1 ? `cuda:${local % gpus}` : name
}
