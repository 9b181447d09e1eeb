/** Parameters of recurrent layers and cells. */
import { binding, RandomKind } from '../binding.js'
import { deviceNumber } from '../device.js'
import { formatShape, rangeError, typeError } from '../errors.js'
import { fillInto, randomInto } from '../ops/in_place.js'
import { nextRandom } from '../random.js'
import { checkShape, numelOf, type Shape, sameShape } from '../shape.js'
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

/**
 * Draws parameters from U(−1/√H, 1/√H). Gains begin as 1, and with `norms` the biases, which are the
 * norms' shifts, as 0, as those of torch.nn.LayerNorm.
 */
export function drawParameters(
  parameters: readonly (readonly [name: string, parameter: Tensor])[],
  hiddenSize: number,
  norms: boolean,
): void {
  const bound = 1 / Math.sqrt(hiddenSize)
  for (const [name, parameter] of parameters) {
    const gain = name.startsWith('gain')
    if (gain || (norms && !name.startsWith('weight'))) {
      fillInto('resetParameters', parameter, gain ? 1 : 0)
      continue
    }
    randomInto('resetParameters', parameter, RandomKind.uniform, -bound, bound, nextRandom())
  }
}

/** Sets the forget gate's biases, the second of four: those of the input to `value`, the others to 0. */
export function setForgetBias(
  parameters: readonly (readonly [name: string, parameter: Tensor])[],
  hiddenSize: number,
  value: number,
): void {
  for (const [name, parameter] of parameters) {
    if (!name.startsWith('bias_ih') && !name.startsWith('bias_hh')) continue
    const gate = binding.view(parameter.buffer, hiddenSize, hiddenSize)
    binding.fillInto(gate, name.startsWith('bias_ih') ? value : 0)
    parameter.changed('resetParameters')
  }
}

/** A parameter as it is now: it may have been replaced, to tie it. */
export function checkWeight(fn: string, name: string, weight: unknown, shape: Shape): Tensor {
  if (!(weight instanceof Tensor)) throw typeError(fn, name, 'a tensor', weight)
  if (weight.dtype !== 'float32') throw typeError(fn, name, 'a float32 tensor', weight.dtype)
  if (!sameShape(weight.shape, shape)) {
    throw rangeError(fn, name, `shape ${formatShape(shape)}`, formatShape(weight.shape))
  }
  return weight
}
