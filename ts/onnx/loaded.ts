/** A graph of ONNX as a module. */
import { types } from 'node:util'
import { describe, formatShape } from '../errors.js'
import { tensor } from '../factories.js'
import { remember } from '../known_values.js'
import type { ModuleDict, ParameterDict } from '../nn/containers.js'
import { Module } from '../nn/module.js'
import type { GRU, LSTM, RNN } from '../nn/recurrent.js'
import { type DType, Tensor } from '../tensor.js'
import { placeOf } from './attributes.js'
import { type LoopPlan, runLoop } from './loop.js'
import type { Run } from './operator.js'
import type { FileNode, FileValue } from './read.js'
import { type Recurrent, runLayer } from './recurrent_operator.js'
import type { RecurrentPlan } from './recurrent_plan.js'
import { type Ints, tensorOf, type Val } from './values.js'

/** An input of a loaded model: a tensor, or whole numbers, as lengths of sequences are. */
export type OnnxInput = Tensor | readonly number[] | Int32Array

/** One operator of a graph, and where its values are. */
export type Step = {
  node: FileNode
  inputs: readonly string[]
  outputs: readonly string[]
} & ({ run: Run } | { layer: string; plan: RecurrentPlan } | { loop: LoopPlan<Step> })

/** What a loaded model computes, and by which names of ONNX its tensors are found. */
export interface GraphPlan {
  steps: readonly Step[]
  inputs: readonly FileValue[]
  outputs: readonly string[]
  /** Whole numbers by name. */
  ints: ReadonlyMap<string, Ints>
  /** Keys of the parameters and buffers by name. */
  weights: ReadonlyMap<string, string>
  constants: ReadonlyMap<string, string>
}

/** Tensors that are not trained. */
class Constants extends Module {
  override forward(): never {
    throw new TypeError('[onnx] constants compute nothing themselves')
  }
}

/** A module for them. */
export function constantsOf(tensors: ReadonlyMap<string, Tensor>): Module {
  const made = new Constants()
  for (const [key, value] of tensors) made.registerBuffer(key, value)
  return made
}

/** By TensorProto.DataType. */
export const DTYPE_OF: Readonly<Record<number, DType>> = {
  ...{ 1: 'float32', 10: 'float32', 11: 'float32', 16: 'float32', 9: 'bool' },
  ...{ 2: 'int32', 3: 'int32', 4: 'int32', 5: 'int32', 6: 'int32', 7: 'int32', 12: 'int32' },
  13: 'int32',
}

/**
 * A model that `onnx.load` has read. Its weights are parameters: `layers` has nn.LSTM, nn.GRU and
 * nn.RNN by the names of their nodes, `weights` the other numbers of float by their names with `_` in
 * place of dots, `constants` what is not trained, as buffers.
 */
export class LoadedModel<Output extends Tensor | Tensor[] = Tensor> extends Module {
  /** The names of what forward takes, in order. */
  readonly inputNames: readonly string[]
  /** The names of what forward returns, in order. */
  readonly outputNames: readonly string[]
  readonly layers: ModuleDict<LSTM | GRU | RNN>
  readonly weights: ParameterDict
  readonly constants: Module
  readonly #plan: GraphPlan

  /** @internal */
  constructor(
    plan: GraphPlan,
    layers: ModuleDict<Recurrent>,
    weights: ParameterDict,
    constants: Module,
  ) {
    super()
    this.#plan = plan
    this.inputNames = Object.freeze(plan.inputs.map(({ name }) => name))
    this.outputNames = Object.freeze([...plan.outputs])
    this.layers = layers
    this.weights = weights
    this.constants = constants
  }

  /**
   * Runs the graph. Dropout is off, also in training mode.
   * @param inputs in the order of {@link inputNames}; int64 as int32. Whole numbers that decide about
   *   shapes, as the lengths of sequences do, as an array
   * @returns the output, or an array in the order of {@link outputNames} where there are several
   * @throws TypeError, RangeError that name the input, or the node whose operator refuses
   */
  override forward(...inputs: OnnxInput[]): Output {
    const { inputs: wanted, steps, outputs, ints } = this.#plan
    if (inputs.length !== wanted.length)
      throw new TypeError(
        `[onnx] forward: expected ${wanted.length} inputs (${this.inputNames.join(', ')}), got ${inputs.length}`,
      )
    const device = this.#device(inputs)
    const values = new Map<string, Val>(ints)
    for (const [name, key] of this.#plan.weights) values.set(name, this.weights.get(key) as Tensor)
    for (const [name, key] of this.#plan.constants)
      values.set(name, Reflect.get(this.constants, key) as Tensor)
    wanted.forEach((input, i) => {
      values.set(input.name, checkInput(input, inputs[i], device))
    })
    for (const step of steps) this.#take(step, values, device)
    const found = outputs.map((name) => tensorOf(values.get(name) as Val, device))
    return (found.length === 1 ? found[0] : found) as Output
  }

  #take(step: Step, values: Map<string, Val>, device: string): void {
    const given = step.inputs.map((name) => (name === '' ? null : (values.get(name) ?? null)))
    let found: readonly Val[]
    try {
      if ('run' in step) found = step.run(given, device)
      else if ('layer' in step)
        found = runLayer(this.layers.get(step.layer) as Recurrent, step.plan, given, device)
      else
        found = runLoop(step.loop, given, values, device, (inner, among) =>
          this.#take(inner, among, device),
        )
    } catch (error) {
      const { message } = error as Error
      const text = `[onnx] ${placeOf(step.node)}: ${message.replace(/^\[onnx\] /, '')}`
      if (error instanceof TypeError) throw new TypeError(text, { cause: error })
      if (error instanceof RangeError) throw new RangeError(text, { cause: error })
      throw new Error(text, { cause: error })
    }
    step.outputs.forEach((name, i) => {
      const value = found[i]
      if (name !== '' && value !== undefined) values.set(name, value)
    })
  }

  /** Where the model is: as its parameters, or, without any, as its inputs. */
  #device(inputs: readonly OnnxInput[]): string {
    const [weight] = [...this.parameters(), ...this.buffers()]
    if (weight !== undefined) return weight.device
    return inputs.find((input) => input instanceof Tensor)?.device ?? 'cpu'
  }

  /** See Module.clone. */
  protected override newInstance(): this {
    return new LoadedModel(this.#plan, this.layers, this.weights, this.constants) as this
  }

  override extraRepr(): string {
    return `${this.inputNames.join(', ')} → ${this.outputNames.join(', ')}`
  }
}

function checkInput({ name, type, shape }: FileValue, given: unknown, device: string): Tensor {
  const fn = `onnx] forward: input ${describe(name)}`
  const dtype = DTYPE_OF[type]
  const wanted = dtype === undefined ? 'a tensor ' : `${dtype} `
  const sizes = shape === null ? 'any shape' : `shape ${formatShape(shape.map((n) => n ?? 'any'))}`
  const refuse = (got: string): never => {
    throw new TypeError(`[${fn}: expected ${wanted}of ${sizes}, got ${got}`)
  }
  const x = given instanceof Tensor ? given : listed(given, device)
  if (x === null) return refuse(describe(given))
  const fits =
    shape === null ||
    (shape.length === x.shape.length && shape.every((n, d) => n === null || n === x.shape[d]))
  if ((dtype !== undefined && x.dtype !== dtype) || !fits)
    refuse(`${x.dtype} of shape ${formatShape(x.shape)}`)
  return x
}

/** A list of whole numbers as a tensor whose values are known. */
function listed(given: unknown, device: string): Tensor | null {
  if (!Array.isArray(given) && !types.isInt32Array(given)) return null
  const values = Int32Array.from(given as ArrayLike<number>)
  if (!values.every((value, i) => value === (given as ArrayLike<number>)[i])) return null
  const made = tensor(values, { device })
  remember(made, values)
  return made
}
