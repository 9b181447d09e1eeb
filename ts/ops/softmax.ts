/** Softmax and its logarithm. */
import { record, willRecord } from '../autograd.js'
import { binding } from '../binding.js'
import { Tensor } from '../tensor.js'
import { checkDim, checkFloat, splitAt } from './common.js'

function normalised(fn: string, x: Tensor, dim: number, log: boolean): Tensor {
  checkFloat(fn, 'tensor', x)
  const { outer, n, inner } = splitAt(x.shape, checkDim(fn, 'dim', dim, x.shape.length))
  const out = Tensor.wrap(binding.softmax(x.buffer, outer, n, inner, log), x.shape, x.device)
  if (!willRecord([x])) return out
  const { shape } = x
  const saved = out.share()
  record(
    fn,
    [x],
    [out],
    ([g]) => {
      const dy = g as Tensor
      const dx = binding.softmaxBackward(dy.buffer, saved.buffer, outer, n, inner, log)
      return [Tensor.wrap(dx, shape, dy.device)]
    },
    [saved],
    'values',
    ([g], node) => {
      const dy = (g as Tensor).reshape([outer, n, inner])
      const y = node.output(0, saved, shape, dy.device).reshape([outer, n, inner])
      const dx = log
        ? dy.sub(y.exp().mul(dy.sum(1, { keepdim: true })))
        : y.mul(dy.sub(dy.mul(y).sum(1, { keepdim: true })))
      return [dx.reshape(shape)]
    },
  )
  return out
}

/** exp(x) over its sum along a dimension; as `torch.nn.functional.softmax`. */
export function softmax(x: Tensor, dim: number): Tensor {
  return normalised('softmax', x, dim, false)
}

/** The logarithm of {@link softmax}, without its rounding; as `torch.nn.functional.log_softmax`. */
export function logSoftmax(x: Tensor, dim: number): Tensor {
  return normalised('logSoftmax', x, dim, true)
}
