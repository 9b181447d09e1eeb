/** Operators of ONNX (https://onnx.ai/onnx/operators) as operations on tensors. */

import { formatShape, rangeError } from '../errors.js'
import { softplus } from '../ops/activation.js'
import { broadcastShapes } from '../ops/common.js'
import { layerNorm } from '../ops/layer_norm.js'
import { where } from '../ops/where.js'
import { numelOf } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { axesFrom, type Operator, one } from './operator.js'
import {
  concat,
  constantOfShape,
  expand,
  flatten,
  gather,
  range,
  reshape,
  shapeOf,
  slice,
  split,
  squeeze,
  transpose,
  unsqueeze,
} from './shape_operators.js'
import { axesOf, axisOf, Ints, intsOf, tensorOf, type Val } from './values.js'

/** One of each element, of float32. */
const unary = (f: (x: Tensor) => Tensor): Operator =>
  one(
    [],
    [1, 1],
    () =>
      ([x], device) =>
        f(tensorOf(x as Val, device)),
  )

/** One of two elements, also of whole numbers that are known. */
function binary(
  f: (a: Tensor, b: Tensor) => Tensor,
  ofNumbers?: (a: number, b: number) => number,
): Operator {
  return one([], [2, 2], () => ([a, b], device) => {
    if (a instanceof Ints && b instanceof Ints && ofNumbers !== undefined) {
      const shape = broadcastShapes('onnx', a.shape, b.shape)
      // A number with a list, or two of one shape: what is there for shapes.
      const n = numelOf(shape)
      if ([a, b].every(({ values }) => values.length === 1 || values.length === n)) {
        const at = ({ values }: Ints, i: number): number =>
          values[values.length === 1 ? 0 : i] as number
        return new Ints(
          shape,
          Array.from({ length: n }, (_, i) => ofNumbers(at(a, i), at(b, i))),
        )
      }
    }
    return f(tensorOf(a as Val, device), tensorOf(b as Val, device))
  })
}

function divided(a: Tensor, b: Tensor): Tensor {
  if (a.dtype === 'float32' || b.dtype === 'float32') return a.div(b)
  throw rangeError('onnx', 'inputs', 'float32: whole numbers are not divided', 'two of int32')
}

function reduce(
  since: number,
  f: (x: Tensor, dims: readonly number[], keepdim: boolean) => Tensor,
): Operator {
  return one(['axes', 'keepdims', 'noop_with_empty_axes'], [1, 2], (attributes, opset) => {
    const axes = axesFrom(attributes, opset, since)
    const keepdim = attributes.flag('keepdims', true)
    const noop = attributes.flag('noop_with_empty_axes', false)
    return (inputs, device) => {
      const x = tensorOf(inputs[0] as Val, device)
      const given = axes(inputs)
      const rank = x.shape.length
      if ((given === null || given.length === 0) && noop) return x
      const dims = given === null || given.length === 0 ? [...x.shape.keys()] : axesOf(given, rank)
      return dims.length === 0 ? x : f(x, dims, keepdim)
    }
  })
}

/** Softmax; before version 13 over all dimensions from the axis on. */
function softmax(f: (x: Tensor, dim: number) => Tensor): Operator {
  return one(['axis'], [1, 1], (attributes, opset) => {
    const axis = attributes.int('axis', opset < 13 ? 1 : -1)
    return ([value], device) => {
      const x = tensorOf(value as Val, device)
      const dim = axisOf(axis, x.shape.length)
      if (opset >= 13 || dim === x.shape.length - 1) return f(x, dim)
      const rows = numelOf(x.shape.slice(0, dim))
      const columns = numelOf(x.shape.slice(dim))
      return f(x.reshape([rows, columns]), 1).reshape(x.shape)
    }
  })
}

const gemm = one(['alpha', 'beta', 'transA', 'transB'], [2, 3], (attributes) => {
  const [alpha, beta] = [attributes.float('alpha', 1), attributes.float('beta', 1)]
  const [transA, transB] = [attributes.flag('transA', false), attributes.flag('transB', false)]
  return ([a, b, c], device) => {
    const matrix = (value: Val, turned: boolean): Tensor => {
      const x = tensorOf(value, device)
      if (x.shape.length !== 2)
        throw rangeError('onnx', 'inputs', 'matrices', `one of shape ${formatShape(x.shape)}`)
      return turned ? x.t() : x
    }
    const product = matrix(a as Val, transA).matmul(matrix(b as Val, transB))
    const scaled = alpha === 1 ? product : product.mul(alpha)
    if (c == null) return scaled
    const added = tensorOf(c, device)
    return scaled.add(beta === 1 ? added : added.mul(beta))
  }
})

/** The largest, or the least, of any number of tensors. */
const extreme = (f: (a: Tensor, b: Tensor) => Tensor): Operator =>
  one(
    [],
    [1, 4096],
    () => (inputs, device) => inputs.map((x) => tensorOf(x as Val, device)).reduce(f),
  )

const layerNormalization = one(['axis', 'epsilon', 'stash_type'], [2, 3], (attributes) => {
  const [given, eps] = [attributes.int('axis', -1), attributes.float('epsilon', 1e-5)]
  return ([x, scale, shift], device) => {
    const input = tensorOf(x as Val, device)
    const normalized = input.shape.slice(axisOf(given, input.shape.length))
    const weight = tensorOf(scale as Val, device)
    const bias = shift == null ? null : tensorOf(shift, device)
    return layerNorm(input, normalized, { weight, bias, eps })
  }
})

/** TensorProto.DataType: what a tensor becomes. */
function castTo(code: number): ((x: Tensor) => Tensor) | null {
  if (code === 1 || code === 11) return (x) => x.float()
  if ([6, 7].includes(code)) return (x) => x.int()
  return code === 9 ? (x) => x.bool() : null
}

const cast = one(['to', 'saturate'], [1, 1], (attributes) => {
  const to = attributes.int('to', 0)
  const f = castTo(to)
  if (f === null)
    return attributes.refuse(
      `attribute 'to': expected float32 (1), float64 (11), int32 (6), int64 (7) or bool (9), got ${to}`,
    )
  return ([x], device) =>
    x instanceof Ints && (to === 6 || to === 7) ? x : f(tensorOf(x as Val, device))
})

const dropout: Operator = {
  attributes: ['ratio', 'seed', 'is_test'],
  inputs: [1, 3],
  outputs: 1,
  make() {
    return ([x, , training]) => {
      if (training != null && intsOf(training, 'training_mode').some((value) => value !== 0))
        throw rangeError('onnx', 'training_mode', 'false: dropout is off', 'true')
      return [x as Val]
    }
  },
}

/** All that are known beside Constant and those that recur, by name. */
export const OPERATORS: ReadonlyMap<string, Operator> = new Map(
  Object.entries({
    Abs: unary((x) => x.abs()),
    Add: binary(
      (a, b) => a.add(b),
      (a, b) => a + b,
    ),
    Cast: cast,
    Concat: concat,
    ConstantOfShape: constantOfShape,
    Div: binary(divided, (a, b) => Math.trunc(a / b)),
    Dropout: dropout,
    Equal: binary((a, b) => a.eq(b)),
    Exp: unary((x) => x.exp()),
    Expand: expand,
    Flatten: flatten,
    Gather: gather,
    Gemm: gemm,
    Greater: binary((a, b) => a.gt(b)),
    Identity: one(
      [],
      [1, 1],
      () =>
        ([x]) =>
          x as Val,
    ),
    LayerNormalization: layerNormalization,
    Less: binary((a, b) => a.lt(b)),
    Log: unary((x) => x.log()),
    LogSoftmax: softmax((x, dim) => x.logSoftmax(dim)),
    MatMul: binary((a, b) => a.matmul(b)),
    Max: extreme((a, b) => a.maximum(b)),
    Min: extreme((a, b) => a.minimum(b)),
    Mul: binary(
      (a, b) => a.mul(b),
      (a, b) => a * b,
    ),
    Neg: unary((x) => x.neg()),
    Not: unary((x) => x.logicalNot()),
    Pow: binary((a, b) => a.pow(b)),
    Range: range,
    ReduceMax: reduce(18, (x, dims, keepdim) => x.amax(dims, { keepdim })),
    ReduceMean: reduce(18, (x, dims, keepdim) => x.mean(dims, { keepdim })),
    ReduceSum: reduce(13, (x, dims, keepdim) => x.sum(dims, { keepdim })),
    Relu: unary((x) => x.relu()),
    Reshape: reshape,
    Shape: shapeOf,
    Sigmoid: unary((x) => x.sigmoid()),
    Slice: slice,
    Softmax: softmax((x, dim) => x.softmax(dim)),
    Softplus: unary((x) => softplus(x)),
    Split: split,
    Sqrt: unary((x) => x.sqrt()),
    Squeeze: squeeze,
    Sub: binary(
      (a, b) => a.sub(b),
      (a, b) => a - b,
    ),
    Tanh: unary((x) => x.tanh()),
    Transpose: transpose,
    Unsqueeze: unsqueeze,
    Where: one([], [3, 3], () => ([condition, a, b], device) => {
      const [yes, no] = [tensorOf(a as Val, device), tensorOf(b as Val, device)]
      return where(tensorOf(condition as Val, device), yes, no)
    }),
  }),
)
