/** Which strategy a fit has. */
import { binding } from '../../binding.js'
import {
  backendFor,
  changeTimeout,
  init,
  isInitialized,
  worldSize,
} from '../../distributed/group.js'
import type { TrainerSettings } from '../types.js'
import { DdpStrategy } from './ddp.js'
import { SingleDeviceStrategy } from './single_device.js'
import type { Strategy } from './strategy.js'

/**
 * The strategy that the Trainer's option asks for; joins the other processes if need be.
 * @param device of the model
 */
export async function createStrategy(
  { strategy, findUnusedParameters, timeout }: TrainerSettings,
  device: string | null,
): Promise<Strategy> {
  if (strategy === 'single') return new SingleDeviceStrategy()
  if (!isInitialized()) {
    if (strategy === 'auto' && binding.launchedProcesses() === 1) return new SingleDeviceStrategy()
    await init({ backend: backendFor(device), ...(timeout !== null && { timeout }) })
  } else if (timeout !== null) {
    changeTimeout(timeout)
  }
  return worldSize() === 1 ? new SingleDeviceStrategy() : new DdpStrategy(findUnusedParameters)
}
