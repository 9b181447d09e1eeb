/** The processes that mpirun has started, which train one model together. */
import { binding } from '../binding.js'
import { backendFor } from '../distributed/group.js'
import { distributed } from '../index.js'
import { oneOf } from './errors.js'

/**
 * Joins the others, if there are any, for a training on this device.
 * @param timeout how long to wait for them, in seconds
 */
export async function joinOthers(
  device: string,
  timeout: number,
): Promise<{ rank: number; size: number }> {
  if (binding.launchedProcesses() === 1) return { rank: 0, size: 1 }
  await distributed.init({ backend: backendFor(device), timeout: 1000 * timeout })
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
