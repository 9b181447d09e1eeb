/** The int8 weights of recurrent layers and cells: in fields, by name, and in the native order. */
import { copyValues } from '../autograd.js'
import { binding } from '../binding.js'
import { zeros } from '../factories.js'
import type { Module } from '../nn/module.js'
import { hasC, type StackCall } from '../nn/recurrent_op.js'
import { DrawnOptions, NO_OPTIONS } from '../nn/step_options.js'
import { checkShape, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import {
  checkColumns,
  checkCpu,
  checkedTensor,
  checkInference,
  checkNoGradient,
  type MatrixSizes,
  packedShape,
  quantized,
} from './int8.js'

/** What the weights of a layer or a cell depend on. */
export interface StackSizes {
  gates: number
  inputSize: number
  hiddenSize: number
  bias: boolean
  /** Of a layer; a cell has one, and names without suffix. */
  layer?: { numLayers: number; bidirectional: boolean; projSize: number }
}

/** A weight: its name, and its size as a matrix or its shape. */
interface Place {
  name: string
  matrix: MatrixSizes | null
  shape: Shape
}

const scaleOf = (name: string): string => `${name}_scale`

/** All weights in the native order, null where there is none. */
function placesOf(sizes: StackSizes): (Place | null)[] {
  const { gates, inputSize, hiddenSize, bias, layer } = sizes
  const { numLayers = 1, bidirectional = false, projSize = 0 } = layer ?? {}
  const out = projSize || hiddenSize
  const directions = bidirectional ? ['', '_reverse'] : ['']
  const places: (Place | null)[] = []
  const matrix = (name: string, groups: number, rows: number, columns: number): Place => {
    const size = { groups, rows, columns }
    return { name, matrix: size, shape: packedShape(size) }
  }
  for (let l = 0; l < numLayers; l++)
    for (const direction of directions) {
      const suffix = layer ? `_l${l}${direction}` : ''
      const inputs = l === 0 ? inputSize : directions.length * out
      const vector = { matrix: null, shape: [gates * hiddenSize] }
      places.push(
        matrix(`weight_ih${suffix}`, gates, hiddenSize, inputs),
        matrix(`weight_hh${suffix}`, gates, hiddenSize, out),
        bias ? { name: `bias_ih${suffix}`, ...vector } : null,
        bias ? { name: `bias_hh${suffix}`, ...vector } : null,
        projSize > 0 ? matrix(`weight_hr${suffix}`, 1, projSize, hiddenSize) : null,
      )
    }
  return places
}

/** The weights as they were checked last, then the scales, with their names. */
interface Checked {
  names: readonly (string | null)[]
  tensors: readonly (Tensor | null)[]
}
const checked = new WeakMap<Module, Checked>()

/** The weights as they are now, then the scales, in native order. @throws TypeError, RangeError */
function tensorsOf(fn: string, module: Module, sizes: StackSizes): readonly (Tensor | null)[] {
  const now = (name: string): unknown => Reflect.get(module, name)
  const last = checked.get(module)
  if (last?.names.every((name, i) => name === null || now(name) === last.tensors[i]))
    return last.tensors
  const places = placesOf(sizes)
  const weights = places.map((place) => {
    if (place === null) return null
    const { name, shape, matrix } = place
    return checkedTensor(fn, name, now(name), shape, matrix === null ? 'float32' : 'int32')
  })
  const scales = places.map((place) => {
    if (place === null || place.matrix === null) return null
    const { groups, rows } = place.matrix
    const name = scaleOf(place.name)
    return checkedTensor(fn, name, now(name), [groups * rows], 'float32')
  })
  const names = [
    ...places.map((place) => place?.name ?? null),
    ...places.map((place) => (place?.matrix ? scaleOf(place.name) : null)),
  ]
  const tensors = [...weights, ...scales]
  checked.set(module, { names, tensors })
  return tensors
}

/** Makes the buffers of a layer or a cell: zeros. @throws TypeError, RangeError */
export function createBuffers(module: Module, sizes: StackSizes, device: string): void {
  const fn = module.constructor.name
  checkCpu(fn, 'device', device)
  for (const place of placesOf(sizes)) {
    if (place === null) continue
    const { name, matrix, shape } = place
    if (matrix === null) {
      module.registerBuffer(name, zeros(shape, { device }))
      continue
    }
    checkColumns(fn, name, matrix.columns)
    module.registerBuffer(name, zeros(checkShape(fn, shape), { dtype: 'int32', device }))
    module.registerBuffer(scaleOf(name), zeros([matrix.groups * matrix.rows], { device }))
  }
}

/** Gives a new layer or cell the weights of another one, which is on the CPU. */
export function takeWeights<M extends Module>(module: M, sizes: StackSizes, from: Module): M {
  for (const place of placesOf(sizes)) {
    if (place === null) continue
    const { name, matrix } = place
    const weight = Reflect.get(from, name) as Tensor
    if (matrix === null) {
      Reflect.set(module, name, copyValues(weight))
      continue
    }
    const [words, scale] = quantized(weight, matrix)
    Reflect.set(module, name, words)
    Reflect.set(module, scaleOf(name), scale)
  }
  return module
}

/** Refuses a layer or cell whose gates int8 weights have not. */
export function refuseVariant(layer: object, option: string, there: boolean): void {
  if (there)
    throw new TypeError(
      `[quantizeDynamic] model: ${layer.constructor.name} with ${option} has no form with int8 weights; name the layers to be replaced in { qconfigSpec: [...] }, without it`,
    )
}

/** For stackCall() of layers and cells. */
export function int8Call(fn: string, module: Module, sizes: StackSizes, device: string): StackCall {
  checkInference(fn, module, device)
  const tensors = tensorsOf(fn, module, sizes)
  return (call, x, h0, c0) => {
    checkNoGradient(fn, [x, h0, c0])
    const { cell, layers, directions, input, hidden, proj, bias, batch, steps, options } = call
    const rows = x.shape[0] as number
    if (options?.resetH || options?.resetC)
      throw new TypeError(
        `[${fn}] resetState: expected none, as int8 layers reset to zeros alone; leave it out, or use the layer before it was quantized`,
      )
    using drawn = options && new DrawnOptions(options, call, rows, hasC(cell), x.device)
    const [y, hn, cn] = binding.int8Rnn(
      ...([cell, layers, directions, input, hidden, proj, bias, batch, steps] as const),
      x.buffer,
      ...([0, 0, 0] as const), // no dropout
      ...(drawn?.native ?? NO_OPTIONS),
      h0?.buffer ?? null,
      c0?.buffer ?? null,
      ...tensors.map((tensor) => tensor?.buffer ?? null),
    )
    const out = proj || hidden
    const stacks = layers * directions
    return {
      y: Tensor.wrap(y, [rows, directions * out], 'cpu'),
      hn: Tensor.wrap(hn, [stacks, batch, out], 'cpu'),
      cn: cn && Tensor.wrap(cn, [stacks, batch, hidden], 'cpu'),
    }
  }
}

/** Refuses to draw weights. */
export function refuseDrawing(module: Module): never {
  throw new TypeError(
    `[${module.constructor.name}] resetParameters: int8 weights are not drawn; quantise a new layer`,
  )
}
