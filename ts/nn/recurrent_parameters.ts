/** Parameters of recurrent layers and cells. */
import { binding, RandomKind } from '../binding.js'
import { deviceNumber } from '../device.js'
import { nextRandom } from '../random.js'
import { checkShape, numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'

/**
 * Parameters in one native block, so that clipping and updating them is one pass.
 * @returns name and tensor, uninitialised
 */
export function parameterBlock(
  fn: string,
  shapes: readonly (readonly [name: string, shape: Shape])[],
  device: string,
): [name: string, parameter: Tensor][] {
  const sizes = shapes.map(([, shape]) => numelOf(shape))
  const total = sizes.reduce((sum, size) => sum + size, 0)
  checkShape(fn, [total])
  const block = binding.fill(total, 0, deviceNumber(device))
  let offset = 0
  const parameters = shapes.map(([name, shape], i): [string, Tensor] => {
    const view = binding.view(block, offset, sizes[i] as number)
    const parameter = Tensor.wrap(view, shape, device)
    offset += sizes[i] as number
    parameter.requiresGrad = true
    return [name, parameter]
  })
  return parameters
}

/** Draws parameters from U(−1/√H, 1/√H). */
export function drawParameters(parameters: readonly Tensor[], hiddenSize: number): void {
  const bound = 1 / Math.sqrt(hiddenSize)
  for (const parameter of parameters) {
    const { seed, counter } = nextRandom()
    binding.randomInto(parameter.buffer, RandomKind.uniform, -bound, bound, seed, counter)
  }
}
