/** Clipping gradients in place; as `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_`. */
import { binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { checkIterable, checkNumber, checkOptions, rangeError, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'

export interface ClipGradNormOptions {
  /** 2 (default), or Infinity for the largest magnitude. */
  normType?: number
}

/**
 * Scales all gradients by one factor so that their norm, as one vector, is at most `maxNorm`; as
 * `torch.nn.utils.clip_grad_norm_`. Parameters without a gradient are passed over.
 * @returns the norm before clipping, shape ()
 * @throws TypeError, RangeError
 */
export function clipGradNorm(
  parameters: Tensor | Iterable<Tensor>,
  maxNorm: number,
  options: ClipGradNormOptions = {},
): Tensor {
  const { grads, device } = gradients('clipGradNorm', parameters)
  checkNumber('clipGradNorm', 'maxNorm', maxNorm, 0)
  checkOptions('clipGradNorm', options, ['normType'])
  const normType = checkNumber('clipGradNorm', 'normType', options.normType ?? 2)
  if (normType !== 2 && normType !== Infinity)
    throw rangeError('clipGradNorm', 'normType', '2 or Infinity', String(normType))
  const buffers = grads.map((grad) => grad.buffer)
  const norm = binding.gradNorm(buffers, normType === Infinity)
  binding.clipGrads(buffers, norm, maxNorm, Infinity)
  for (const grad of grads) grad.changed('clipGradNorm')
  return Tensor.wrap(norm, [], device)
}

/**
 * Moves every element of every gradient into [-clipValue, clipValue]; as
 * `torch.nn.utils.clip_grad_value_`.
 * @throws TypeError, RangeError
 */
export function clipGradValue(parameters: Tensor | Iterable<Tensor>, clipValue: number): void {
  const { grads } = gradients('clipGradValue', parameters)
  checkNumber('clipGradValue', 'clipValue', clipValue, 0)
  const buffers = grads.map((grad) => grad.buffer)
  binding.clipGrads(buffers, null, 0, clipValue)
  for (const grad of grads) grad.changed('clipGradValue')
}

function gradients(fn: string, parameters: Tensor | Iterable<Tensor>) {
  if (!(parameters instanceof Tensor))
    checkIterable(fn, 'parameters', parameters, 'a tensor or an iterable of tensors')
  const list = parameters instanceof Tensor ? [parameters] : [...parameters]
  list.forEach((parameter, i) => {
    if (!(parameter instanceof Tensor))
      throw typeError(fn, `parameters[${i}]`, 'a tensor', parameter)
  })
  const grads = new Set(list.map((parameter) => parameter.ownGrad).filter((grad) => grad !== null))
  const device = [...grads][0]?.device ?? 'cpu'
  for (const grad of grads) checkSameDevice(fn, 'gradients', grad, device)
  return { grads: [...grads], device }
}
