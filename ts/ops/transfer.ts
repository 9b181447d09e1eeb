/** From one device to another. */
import { type Backward, record } from '../autograd.js'
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
  const backward: Backward = ([dy]) => [to(dy as Tensor, before)]
  record('to', [x], [out], backward, [], 'values', backward)
  return out
}
