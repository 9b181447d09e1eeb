/** Tensors that modules train. */
import { checkBoolean, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'

/** Tensors that are parameters even while they are frozen. */
const parameters = new WeakSet<Tensor>()

interface ParameterConstructor {
  new (data: Tensor, requiresGrad?: boolean): Tensor
  (data: Tensor, requiresGrad?: boolean): Tensor
}

function parameter(data: Tensor, requiresGrad = true): Tensor {
  if (!(data instanceof Tensor)) throw typeError('Parameter', 'data', 'a tensor', data)
  checkBoolean('Parameter', 'requiresGrad', requiresGrad)
  const result = data.gradFn === null ? data : data.detach()
  result.requiresGrad = requiresGrad
  parameters.add(result)
  return result
}

/**
 * Marks a tensor as a parameter, so that a {@link Module} with it in a field finds it also while it
 * is frozen; as `torch.nn.Parameter`. Works with and without `new`.
 * @returns the tensor itself, or the same memory without history when it was computed
 */
export const Parameter = parameter as unknown as ParameterConstructor

/** Whether a value found in a module's field is one of its parameters. */
export function isParameter(value: unknown): value is Tensor {
  if (!(value instanceof Tensor)) return false
  if (parameters.has(value)) return true
  if (!value.requiresGrad || value.gradFn !== null) return false
  parameters.add(value) // stays one when it is frozen later
  return true
}
