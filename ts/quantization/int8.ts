/** Weights as int8: how they lie in tensors, and what all layers that have them refuse. */
import { willRecord } from '../autograd.js'
import { binding } from '../binding.js'
import { formatShape, rangeError, typeError } from '../errors.js'
import type { Module } from '../nn/module.js'
import { type Shape, sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'

/** Rows of a panel; native/cpu/int8/kernels.h. */
const PANEL = 16
/** Columns that sums of 32 bits hold. */
const MOST_COLUMNS = 2 ** 16

/** A matrix of `groups` (a recurrent layer's gates) of as many rows. */
export interface MatrixSizes {
  groups: number
  rows: number
  columns: number
}

/** The shape of the int32 tensor that has a matrix as int8. */
export function packedShape({ groups, rows, columns }: MatrixSizes): Shape {
  return [groups * Math.ceil(rows / PANEL), 1 + Math.ceil(columns / 4), PANEL]
}

/** The shape that a matrix has in a state dict, in which it may be int8. */
export function storedShape(
  state: ReadonlyMap<string, unknown>,
  name: string,
  shape: readonly number[],
  groups = 1,
): Shape {
  const [rows = 0, columns = 0] = shape
  if (!state.has(`${name}_scale`)) return shape
  return packedShape({ groups, rows: rows / groups, columns })
}

/** @throws RangeError for more columns than sums of 32 bits hold */
export function checkColumns(fn: string, name: string, columns: number): void {
  if (columns > MOST_COLUMNS)
    throw rangeError(fn, name, `at most ${MOST_COLUMNS} inputs for int8`, String(columns))
}

/** A float32 matrix on the CPU as int8 and its rows' scales. */
export function quantized(weight: Tensor, sizes: MatrixSizes): [words: Tensor, scale: Tensor] {
  const { groups, rows, columns } = sizes
  const [words, scales] = binding.quantizeWeights(weight.buffer, groups, rows, columns)
  return [
    Tensor.wrap(words, packedShape(sizes), 'cpu', 'int32'),
    Tensor.wrap(scales, [groups * rows], 'cpu'),
  ]
}

/** A tensor of a quantised layer as it is now. @throws TypeError, RangeError */
export function checkedTensor(
  fn: string,
  name: string,
  tensor: unknown,
  shape: Shape,
  dtype: 'float32' | 'int32',
): Tensor {
  if (!(tensor instanceof Tensor)) throw typeError(fn, name, 'a tensor', tensor)
  if (tensor.dtype !== dtype) throw typeError(fn, name, `a tensor of ${dtype}`, tensor.dtype)
  if (!sameShape(tensor.shape, shape))
    throw rangeError(fn, name, `shape ${formatShape(shape)}`, formatShape(tensor.shape))
  if (tensor.device !== 'cpu') throw typeError(fn, name, "a tensor on 'cpu'", tensor.device)
  return tensor
}

/** Refuses training mode and other devices than the CPU. */
export function checkInference(fn: string, module: Module, device: string): void {
  if (module.training)
    throw new TypeError(
      `[${fn}] int8 layers are for inference: call eval() on the model first, and train the one that quantizeDynamic was given`,
    )
  checkCpu(fn, 'input', device)
}

/** Refuses inputs that want a gradient. */
export function checkNoGradient(fn: string, inputs: readonly (Tensor | null)[]): void {
  if (willRecord(inputs))
    throw new TypeError(
      `[${fn}] input: int8 layers have no gradient: detach() the input, or call inside noGrad()`,
    )
}

/** Refuses GPUs. */
export function checkCpu(fn: string, name: string, device: string): void {
  if (device !== 'cpu')
    throw new TypeError(
      `[${fn}] ${name}: int8 is for the CPU, got '${device}'; on a GPU, use the model in float32 or with backends.cuda`,
    )
}
