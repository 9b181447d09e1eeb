/** What processes do together. All have to make the same calls, in the same order. */
import { binding, Reduce } from '../binding.js'
import {
  checkInteger,
  checkOneOf,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { copyInto } from '../ops/in_place.js'
import { Tensor } from '../tensor.js'
import { attempt, member } from './group.js'

/** What {@link allReduce} makes of the processes' values; as `torch.distributed.ReduceOp`. */
export type ReduceOp = 'sum' | 'avg' | 'min' | 'max' | 'product'

export interface AllReduceOptions {
  /** Default 'sum'. */
  op?: ReduceOp
}

const OPS = ['sum', 'avg', 'min', 'max', 'product'] as const

/**
 * Replaces every element by the sum (mean, minimum, …) of those of all processes, in place; as
 * `torch.distributed.all_reduce`. The work is queued: read the tensor as after any operation.
 * @param tensor float32 or int32, of one shape in all processes
 * @throws TypeError, RangeError; also without a group
 */
export function allReduce(tensor: Tensor, options: AllReduceOptions = {}): void {
  checkNumeric('allReduce', 'tensor', tensor)
  checkOptions('allReduce', options, ['op'])
  const op = checkOneOf('allReduce', 'op', options.op ?? 'sum', OPS)
  if (op === 'avg' && tensor.dtype !== 'float32')
    throw typeError('allReduce', 'tensor', "float32 for op 'avg'", tensor.dtype)
  member('allReduce')
  const mean = op === 'avg'
  attempt('allReduce', () => binding.allReduce(tensor.buffer, Reduce[mean ? 'sum' : op], mean))
  tensor.changed('allReduce')
}

/**
 * Replaces the values by those of process `src`, in place; as `torch.distributed.broadcast`.
 * @param tensor of one shape and type in all processes
 * @throws TypeError, RangeError; also without a group
 */
export function broadcast(tensor: Tensor, src: number): void {
  checkNumeric('broadcast', 'tensor', tensor)
  checkInteger('broadcast', 'src', src, 0)
  const [, size] = member('broadcast')
  if (src >= size) throw rangeError('broadcast', 'src', `a rank below ${size}`, String(src))
  attempt('broadcast', () => binding.broadcast(tensor.buffer, src))
  tensor.changed('broadcast')
}

/**
 * Writes the values of every process into a list of tensors, in the order of the ranks; as
 * `torch.distributed.all_gather`.
 * @param tensorList as many tensors as there are processes, of the tensor's shape, type and device
 * @param tensor this process's, of one shape in all processes
 * @throws TypeError, RangeError; also without a group
 */
export function allGather(tensorList: readonly Tensor[], tensor: Tensor): void {
  const fn = 'allGather'
  if (!Array.isArray(tensorList))
    throw typeError(fn, 'tensorList', 'an array of tensors', tensorList)
  checkNumeric(fn, 'tensor', tensor)
  const kind = (x: Tensor): string => `${x.dtype} of shape ${formatShape(x.shape)} on ${x.device}`
  for (let i = 0; i < tensorList.length; i++) {
    checkTensor(fn, `tensorList[${i}]`, tensorList[i])
    if (kind(tensorList[i]) !== kind(tensor))
      throw rangeError(fn, `tensorList[${i}]`, `as tensor, ${kind(tensor)}`, kind(tensorList[i]))
  }
  const [, size] = member(fn)
  if (tensorList.length !== size)
    throw rangeError(
      fn,
      'tensorList',
      `${size} tensors, one for each process`,
      String(tensorList.length),
    )
  for (const one of tensorList) one.buffer // a disposed one is an error before anything is changed
  const all = attempt(fn, () => binding.allGather(tensor.buffer))
  tensorList.forEach((one, i) => {
    const part = binding.view(all, i * tensor.numel, tensor.numel)
    copyInto('allGather', one, part)
    binding.release(part)
  })
  binding.release(all)
}

/**
 * As `torch.distributed.barrier`.
 * @returns a promise that settles when all processes have come here, and this one's CPU has done what
 *   was queued before
 * @throws TypeError without a group
 */
export function barrier(): Promise<void> {
  member('barrier')
  attempt('barrier', () => binding.barrier())
  return passed()
}

async function passed(): Promise<void> {
  await binding.synchronize(-1)
}

/** Not of booleans, which the collectives do not have. */
function checkNumeric(fn: string, name: string, value: unknown): asserts value is Tensor {
  checkTensor(fn, name, value)
  if (value.dtype === 'bool') throw typeError(fn, name, 'a float32 or int32 tensor', 'bool')
}

function checkTensor(fn: string, name: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) throw typeError(fn, name, 'a tensor', value)
  value.buffer // a disposed tensor is an error before anything is changed
}
