/** Operators of ONNX that move elements or make shapes of them: none calculates. */

import { formatShape, rangeError } from '../errors.js'
import { full } from '../factories.js'
import { broadcastShapes } from '../ops/common.js'
import { gatherAlong } from '../ops/gather.js'
import { cat } from '../ops/shape.js'
import { checkShape, numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { axesFrom, type Operator, one } from './operator.js'
import { axesOf, axisOf, Ints, intsOf, MOST_INTS, tensorOf, type Val } from './values.js'

export const reshape = one(['allowzero'], [2, 2], (attributes) => {
  const allowZero = attributes.flag('allowzero', false)
  return ([x, wanted]) => {
    const from = (x as Val).shape
    const sizes = intsOf(wanted as Val, 'shape').map((size, d) => {
      if (size !== 0 || allowZero) return size
      if (d < from.length) return from[d] as number
      throw rangeError('onnx', `shape[${d}]`, 'a size (0: that of the input)', '0')
    })
    if (x instanceof Tensor) return x.reshape(sizes)
    const open = sizes.indexOf(-1)
    if (open >= 0) {
      const rest = numelOf(sizes.filter((_, d) => d !== open))
      sizes[open] = rest === 0 ? 0 : (x as Ints).values.length / rest
    }
    return (x as Ints).reshaped(sizes)
  }
})

/** A view of another shape. */
const shaped = (x: Val, shape: Shape): Val =>
  x instanceof Tensor ? x.reshape(shape) : x.reshaped(shape)

export const squeeze = one(['axes'], [1, 2], (attributes, opset) => {
  const axes = axesFrom(attributes, opset, 13)
  return (inputs) => {
    const x = inputs[0] as Val
    const given = axes(inputs)
    const gone = given === null ? null : axesOf(given, x.shape.length)
    for (const d of gone ?? [])
      if (x.shape[d] !== 1)
        throw rangeError('onnx', 'axes', 'dimensions of size 1', `${d} of ${formatShape(x.shape)}`)
    return shaped(
      x,
      x.shape.filter((size, d) => (gone === null ? size !== 1 : !gone.includes(d))),
    )
  }
})

export const unsqueeze = one(['axes'], [1, 2], (attributes, opset) => {
  const axes = axesFrom(attributes, opset, 13)
  return (inputs) => {
    const x = inputs[0] as Val
    const given = axes(inputs) ?? []
    const shape = [...x.shape]
    for (const d of axesOf(given, x.shape.length + given.length)) shape.splice(d, 0, 1)
    return shaped(x, checkShape('onnx', shape))
  }
})

export const gather = one(['axis'], [2, 2], (attributes) => {
  const given = attributes.int('axis', 0)
  return ([x, index], device) => {
    const from = x as Val
    const axis = axisOf(given, from.shape.length)
    const size = from.shape[axis] as number
    const inside = (place: number): number => axisOf(place, size, 'indices')
    if (index instanceof Ints) {
      const places = index.values.map(inside)
      if (from instanceof Ints && from.shape.length === 1)
        return new Ints(
          index.shape,
          places.map((place) => from.values[place] as number),
        )
      if (index.shape.length === 0 && from instanceof Tensor)
        return from.select(axis, places[0] as number)
      const where = tensorOf(new Ints(index.shape, places), device)
      return gatherAlong('onnx', tensorOf(from, device), axis, where)
    }
    return gatherAlong('onnx', tensorOf(from, device), axis, index as Tensor)
  }
})

export const concat = one(['axis'], [1, 4096], (attributes) => {
  const given = attributes.int('axis', null)
  if (given === null) return attributes.refuse("attribute 'axis' is missing")
  return (inputs, device) => {
    const list = inputs as readonly Val[]
    const axis = axisOf(given, (list[0] as Val).shape.length)
    if (list.every((x) => x instanceof Ints && x.shape.length === 1)) {
      const values = list.flatMap((x) => (x as Ints).values)
      if (values.length <= MOST_INTS) return Ints.list(values)
    }
    return cat(
      list.map((x) => tensorOf(x, device)),
      axis,
    )
  }
})

export const slice = one(['starts', 'ends', 'axes'], [1, 5], (attributes, opset) => {
  const old = [attributes.ints('starts'), attributes.ints('ends'), attributes.ints('axes')]
  if (opset >= 10 && old.some((one) => one !== null))
    attributes.refuse('starts, ends and axes are inputs since version 10')
  return (inputs) => {
    let x = inputs[0] as Val
    const read = (i: number, what: string): readonly number[] | null => {
      const value = inputs[i + 1]
      if (opset < 10) return old[i] ?? null
      return value == null ? null : intsOf(value, what)
    }
    const starts = read(0, 'starts') ?? []
    const ends = read(1, 'ends') ?? []
    const rank = x.shape.length
    const axes = (read(2, 'axes') ?? [...starts.keys()]).map((axis) => axisOf(axis, rank, 'axes'))
    const steps = read(3, 'steps') ?? starts.map(() => 1)
    if ([ends, axes, steps].some(({ length }) => length !== starts.length))
      throw rangeError('onnx', 'starts', 'as many ends, axes and steps', String(starts.length))
    starts.forEach((start, i) => {
      x = cut(x, axes[i] as number, start, ends[i] as number, steps[i] as number)
    })
    return x
  }
})

/** x[start:end:step] along an axis, as NumPy has it. */
function cut(x: Val, axis: number, start: number, end: number, step: number): Val {
  const size = x.shape[axis] as number
  if (!Number.isSafeInteger(step) || step === 0)
    throw rangeError('onnx', 'steps', 'whole numbers beside 0', String(step))
  const within = (place: number, least: number, most: number): number =>
    Math.min(Math.max(place < 0 ? place + size : place, least), most)
  if (step > 0) {
    const [from, to] = [within(start, 0, size), within(end, 0, size)]
    if (x instanceof Tensor)
      return x.slice(axis, from, Math.max(to, from), Math.min(step, size || 1))
    return listOf(x, from, to, step)
  }
  const [from, to] = [within(start, 0, size - 1), within(end, -1, size - 1)]
  if (x instanceof Ints) return listOf(x, from, to, step)
  // The elements to + 1 … from in reverse.
  const kept = x.slice(axis, to + 1, Math.max(from + 1, to + 1))
  return kept.flip(axis).slice(axis, 0, Infinity, Math.min(-step, size || 1))
}

function listOf(x: Ints, from: number, to: number, step: number): Ints {
  if (x.shape.length !== 1) throw rangeError('onnx', 'data', 'one dimension', formatShape(x.shape))
  const values: number[] = []
  for (let i = from; step > 0 ? i < to : i > to; i += step) values.push(x.values[i] as number)
  return Ints.list(values)
}

export const split: Operator = {
  attributes: ['axis', 'split', 'num_outputs'],
  inputs: [1, 2],
  outputs: 4096,
  make(attributes, opset, outputs) {
    const given = attributes.int('axis', 0)
    const old = attributes.ints('split')
    if (opset >= 13 && old !== null)
      attributes.refuse("attribute 'split' is an input since version 13")
    if (attributes.int('num_outputs', outputs) !== outputs)
      attributes.refuse(`attribute 'num_outputs' is not ${outputs}`)
    return ([value, parts], device) => {
      const x = tensorOf(value as Val, device)
      const axis = axisOf(given, x.shape.length)
      const size = x.shape[axis] as number
      const each = Math.ceil(size / outputs)
      const even = Array.from({ length: outputs }, (_, i) =>
        Math.max(Math.min(each, size - i * each), 0),
      )
      const sizes = parts == null ? (old ?? even) : intsOf(parts, 'split')
      if (sizes.length !== outputs)
        throw rangeError('onnx', 'split', `${outputs} sizes`, String(sizes.length))
      return x.split(sizes, axis)
    }
  },
}

export const transpose = one(['perm'], [1, 1], (attributes) => {
  const perm = attributes.ints('perm')
  return ([value], device) => {
    const x = tensorOf(value as Val, device)
    return x.permute(perm ?? [...x.shape.keys()].reverse())
  }
})

export const expand = one([], [2, 2], () => ([value, sizes], device) => {
  const x = tensorOf(value as Val, device)
  const wanted = checkShape('onnx', [...intsOf(sizes as Val, 'shape')])
  return x.expand(broadcastShapes('onnx', x.shape, wanted))
})

export const range = one([], [3, 3], () => (inputs) => {
  const [start, limit, delta] = ['start', 'limit', 'delta'].map(
    (what, i) => intsOf(inputs[i] as Val, what)[0] as number,
  ) as [number, number, number]
  const n = Math.max(Math.ceil((limit - start) / delta), 0)
  if (!(n <= 2 ** 20)) throw rangeError('onnx', 'limit', 'at most 2^20 numbers', String(n))
  return Ints.list(Array.from({ length: n }, (_, i) => start + i * delta))
})

export const shapeOf = one(['start', 'end'], [1, 1], (attributes) => {
  const [start, end] = [attributes.int('start', 0), attributes.int('end', Infinity)]
  return ([x]) => Ints.list([...(x as Val).shape].slice(start, end))
})

export const constantOfShape = one(['value'], [1, 1], (attributes) => {
  const value = attributes.tensor('value')
  const [number = 0] = value === null ? [] : value.values()
  const whole = value?.integers() !== null && value !== null
  const isBool = value?.type === 'BOOL'
  return ([sizes], device) => {
    const shape = checkShape('onnx', [...intsOf(sizes as Val, 'input')])
    if (whole && numelOf(shape) <= MOST_INTS)
      return new Ints(
        shape,
        Array.from({ length: numelOf(shape) }, () => number),
      )
    return full(shape, number, { device, dtype: isBool ? 'bool' : whole ? 'int32' : 'float32' })
  }
})

export const flatten = one(['axis'], [1, 1], (attributes) => {
  const given = attributes.int('axis', 1)
  return ([value], device) => {
    const x = tensorOf(value as Val, device)
    const rank = x.shape.length
    const axis = given === rank ? rank : axisOf(given, rank)
    return x.reshape([numelOf(x.shape.slice(0, axis)), numelOf(x.shape.slice(axis))])
  }
})
