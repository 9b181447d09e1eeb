/** From one device to another. */
import { record } from '../autograd.js'
import { binding } from '../binding.js'
import { deviceNumber } from '../device.js'
import { Tensor } from '../tensor.js'

/** A tensor's values on another device, without history; a new tensor. */
export function movedValues(x: Tensor, device: string): Tensor {
  const buffer = binding.toDevice(x.buffer, deviceNumber(device))
  return Tensor.wrap(buffer, x.shape, device, x.dtype)
}

/** The tensor on another device; its gradient goes back to where it was. */
export function to(x: Tensor, device: string): Tensor {
  const before = x.device
  const out = movedValues(x, device)
  record('to', [x], [out], ([dy]) => [movedValues(dy as Tensor, before)])
  return out
}
