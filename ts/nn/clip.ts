/** Clipping gradients in place; as `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_`. */
import { binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import {
  checkBoolean,
  checkIterable,
  checkNumber,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import { numbersOf } from '../ops/rows.js'
import { Tensor } from '../tensor.js'

export interface ClipGradNormOptions {
  /**
   * The p of the p-norm: any number but 0; Infinity for the largest magnitude, -Infinity for the
   * smallest. Default 2.
   */
  normType?: number
  /**
   * Refuse gradients that are NaN or infinite. They are looked at when they have been computed: the
   * next promise rejects, and optimisers leave the parameters as they are. Default false.
   */
  errorIfNonfinite?: boolean
}

/**
 * Scales all gradients by one factor so that their norm, as one vector, is at most `maxNorm`; as
 * `torch.nn.utils.clip_grad_norm_`, and sparse ones besides, whose other rows count as 0. Parameters
 * without a gradient are passed over.
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
  checkOptions('clipGradNorm', options, ['normType', 'errorIfNonfinite'])
  const normType = checkNumber('clipGradNorm', 'normType', options.normType ?? 2)
  if (normType === 0) throw rangeError('clipGradNorm', 'normType', 'any number but 0', '0')
  const { errorIfNonfinite = false } = options
  const checks = checkBoolean('clipGradNorm', 'errorIfNonfinite', errorIfNonfinite)
  const numbers = grads.map(numbersOf)
  const buffers = numbers.map((one) => one.buffer)
  if (checks) binding.checkFinite(-1, null, buffers)
  const norm = binding.gradNorm(buffers, grads.length === 0 ? 2 : normType)
  binding.clipGrads(buffers, norm, maxNorm, Infinity)
  for (const one of numbers) one.changed('clipGradNorm')
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
  const numbers = grads.map(numbersOf)
  const buffers = numbers.map((one) => one.buffer)
  binding.clipGrads(buffers, null, 0, clipValue)
  for (const one of numbers) one.changed('clipGradValue')
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
