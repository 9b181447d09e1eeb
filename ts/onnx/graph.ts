/** What an ONNX model is built with: inputs, operators, weights, outputs. */

import type { Values } from '../dtype.js'
import { checkInteger, checkOneOf, rangeError, typeError } from '../errors.js'
import { noGrad } from '../grad_mode.js'
import type { Message } from '../io/protobuf.js'
import { bytesOf } from '../io/whole_file.js'
import type { GRUCell, LSTMCell, RNNCell } from '../nn/cells.js'
import type { Sequential } from '../nn/containers.js'
import type { Dropout } from '../nn/dropout.js'
import type { Embedding } from '../nn/embedding.js'
import type { IndRNN, IndRNNCell } from '../nn/ind_rnn.js'
import type { LayerNormLSTM, LayerNormLSTMCell } from '../nn/layer_norm_lstm.js'
import type { Linear } from '../nn/linear.js'
import type { MinGRU, MinGRUCell } from '../nn/min_gru.js'
import type { MinLSTM, MinLSTMCell } from '../nn/min_lstm.js'
import type { Module } from '../nn/module.js'
import type { GRU, LSTM, RNN } from '../nn/recurrent.js'
import type { SLSTM, SLSTMCell } from '../nn/slstm.js'
import type { SRU, SRUCell } from '../nn/sru.js'
import { type DType, type Shape, Tensor } from '../tensor.js'
import { applyLayer } from './layers.js'
import {
  type AnyAttribute,
  type Attribute,
  DataType,
  graphProto,
  innerValueProto,
  modelProto,
  nodeProto,
  type OnnxDType,
  tensorProto,
  valueProto,
} from './proto.js'

/** A tensor of the graph: an input, a weight, or what an operator gives. */
export interface Value {
  readonly name: string
}

type Pair = readonly [h: Value, c: Value]
type Four = readonly [h: Value, c: Value, n: Value, m: Value]

/** Sizes; a name stands for a size that is chosen when the model is run. */
export type OnnxShape = readonly (number | string)[]

/** Layers that have one output. */
export type PlainLayer = Embedding | Linear | Dropout | Sequential

/**
 * A graph of ONNX operators (https://onnx.ai/onnx/operators, opset 17). A model's `toOnnx(graph)`
 * builds it; see {@link OnnxModule}.
 */
export class Graph {
  readonly #fn: string
  /** Of the graph, or of the body of the loop that is being built. */
  #nodes: Message[] = []
  /** What is computed in the bodies that are being built, one within the other. */
  readonly #bodies: string[][] = []
  /** What was computed in bodies that are done. */
  readonly #inBodies = new Set<string>()
  readonly #inputs: Message[] = []
  readonly #outputs: Message[] = []
  readonly #constants: Message[] = []
  /** The weights as they are when they are asked for; their bytes arrive later. */
  readonly #initializers: {
    name: string
    dtype: DType
    shape: Shape
    data: ReturnType<Tensor['data']>
  }[] = []
  readonly #names = new Set<string>()
  readonly #paths: ReadonlyMap<Module, string>
  readonly #parameters: ReadonlyMap<Tensor, string>
  readonly #weights = new Map<Tensor, Value>()
  readonly #derived = new Map<Module, Map<string, Value>>()

  /** @param model whose names for layers and parameters are used */
  constructor(fn: string, model: Module) {
    this.#fn = fn
    this.#paths = new Map(model.namedModules().map(([name, module]) => [module, name]))
    this.#parameters = new Map(model.namedParameters().map(([name, value]) => [value, name]))
  }

  /** Declares an input of the model. @param shape null: any @throws TypeError, RangeError */
  input(name: string, dtype: OnnxDType, shape: OnnxShape | null): Value {
    this.#checkOutside('input')
    this.#inputs.push(valueProto(this.#newName(name), this.#dtype(dtype), this.#shape(shape)))
    return { name }
  }

  /** Declares an output of the model. @throws TypeError, RangeError */
  output(name: string, value: Value, dtype: OnnxDType, shape: OnnxShape | null): void {
    this.#checkOutside('output')
    const inputs = [this.#nameOf('value', value)]
    const own = this.#newName(name)
    this.#nodes.push(nodeProto(own, 'Identity', inputs, [own], {}))
    this.#outputs.push(valueProto(own, this.#dtype(dtype), this.#shape(shape)))
  }

  /**
   * What a layer or cell computes in evaluation mode: dropout does nothing. Layers that recur give
   * output and state, as their forward does; without a state, or with null, they begin with zeros.
   * @param lengths of the sequences, int32 (N), as for packPaddedSequence: a layer reads no further,
   *   its output is zero there, and its state is the one after each sequence's last step
   * @throws TypeError for what is not one of the layers, zoneout, int8 weights, another state
   */
  call(
    layer: LSTM | LayerNormLSTM,
    input: Value,
    state?: Pair | null,
    lengths?: Value,
  ): [Value, [Value, Value]]
  call(layer: SLSTM, input: Value, state?: Four | null, lengths?: Value): [Value, Four]
  call(
    layer: GRU | RNN | IndRNN | SRU | MinGRU | MinLSTM,
    input: Value,
    state?: Value | null,
    lengths?: Value,
  ): [Value, Value]
  call(layer: LSTMCell | LayerNormLSTMCell, input: Value, state?: Pair | null): [h: Value, c: Value]
  call(layer: SLSTMCell, input: Value, state?: Four | null): Four
  call(layer: SRUCell, input: Value, c?: Value | null): [h: Value, c: Value]
  call(
    layer: GRUCell | RNNCell | IndRNNCell | MinGRUCell | MinLSTMCell,
    input: Value,
    h?: Value | null,
  ): Value
  call(layer: PlainLayer, input: Value): Value
  call(
    layer: Module,
    input: Value,
    state?: Value | readonly Value[] | null,
    lengths?: Value,
  ): unknown {
    return applyLayer(this, this.#fn, layer, input, state, lengths)
  }

  /**
   * One operator.
   * @param inputs null: an optional one that is left out
   * @returns its first output
   */
  node(
    op: string,
    inputs: readonly (Value | null)[],
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Value {
    return this.nodes(op, inputs, 1, attributes)[0] as Value
  }

  /** As {@link node}, for an operator with several outputs. */
  nodes(
    op: string,
    inputs: readonly (Value | null)[],
    outputs: number,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): Value[] {
    this.#checkAttributes(op, attributes)
    return this.#addNode(op, inputs, outputs, attributes)
  }

  /**
   * A loop over the first dimension of `inputs`: ONNX's Scan.
   * @param states what goes from step to step, as it is before the first one
   * @param body called once: from the states and one row of each input, the new states and what is
   *   put out in this step. It may use values from around it; what it computes is not known behind it
   * @returns the states behind the last step, and the outputs of all steps, with the steps as their
   *   first dimension
   * @throws TypeError for no inputs or another number of states
   */
  scan(
    states: readonly Value[],
    inputs: readonly Value[],
    body: (states: Value[], rows: Value[]) => [states: readonly Value[], outputs: readonly Value[]],
  ): [states: Value[], outputs: Value[]] {
    const fn = this.#fn
    if (inputs.length === 0) throw typeError(fn, 'scan.inputs', 'at least one value', inputs)
    const outside = this.#nodes
    const own: string[] = []
    this.#nodes = []
    this.#bodies.push(own)
    let graph: Message
    let count: number
    try {
      const inner = (what: string): Value => ({ name: this.#computedName(`Scan_${what}`) })
      const [before, rows] = [states.map(() => inner('state')), inputs.map(() => inner('row'))]
      const [after, outputs] = body(before, rows)
      if (after.length !== states.length)
        throw typeError(fn, 'scan.body', `${states.length} new states`, after)
      // Each a name of its own, and none that comes from around the body.
      const ends = [...after, ...outputs].map((value) => this.node('Identity', [value]))
      count = ends.length
      graph = graphProto('step', {
        nodes: this.#nodes,
        initializers: [],
        inputs: [...before, ...rows].map(({ name }) => innerValueProto(name)),
        outputs: ends.map(({ name }) => innerValueProto(name)),
      })
    } finally {
      this.#nodes = outside
      this.#bodies.pop()
      for (const name of own) this.#inBodies.add(name)
    }
    const attributes = { body: { graph }, num_scan_inputs: inputs.length }
    const results = this.#addNode('Scan', [...states, ...inputs], count, attributes)
    return [results.slice(0, states.length), results.slice(states.length)]
  }

  #addNode(
    op: string,
    inputs: readonly (Value | null)[],
    outputs: number,
    attributes: Readonly<Record<string, AnyAttribute>>,
  ): Value[] {
    const names = inputs.map((value, i) => {
      return value === null ? '' : this.#nameOf(`inputs[${i}] of ${op}`, value)
    })
    // Some runtimes read what is named '' at the end as if it were there.
    while (names.at(-1) === '') names.pop()
    const results = Array.from({ length: outputs }, () => this.#computedName(op))
    this.#nodes.push(nodeProto(results[0] as string, op, names, results, attributes))
    return results.map((name) => ({ name }))
  }

  /** Whole numbers, as operators take shapes, axes and positions: int64, one dimension. */
  ints(...values: number[]): Value {
    for (const [i, value] of values.entries())
      checkInteger(this.#fn, `ints[${i}]`, value, -(2 ** 53))
    const name = this.#freeName('ints')
    const raw = bytesOf(BigInt64Array.from(values, BigInt))
    this.#constants.push(tensorProto(name, 'int64', [values.length], raw))
    return { name }
  }

  /**
   * A tensor with the values that it has now, under the name that the model has for it.
   * @param name for one that is no parameter of the model
   */
  weight(tensor: Tensor, name?: string): Value {
    if (!(tensor instanceof Tensor)) throw typeError(this.#fn, 'weight', 'a tensor', tensor)
    const known = this.#weights.get(tensor)
    if (known !== undefined) return known
    const wanted = name ?? this.#parameters.get(tensor) ?? 'weight'
    const own = this.#names.has(wanted) ? this.#freeName(wanted) : this.#newName(wanted)
    const value = { name: own }
    const data = tensor.data()
    data.catch(() => {}) // told by finish, which may not be reached
    this.#weights.set(tensor, value)
    this.#initializers.push({ name: own, dtype: tensor.dtype, shape: tensor.shape, data })
    return value
  }

  /**
   * What a layer needs in another form than its parameters have: computed once, however often the
   * layer is called, and freed.
   */
  derived(layer: Module, name: string, make: () => Tensor): Value {
    const own = this.#derived.get(layer) ?? new Map<string, Value>()
    this.#derived.set(layer, own)
    let value = own.get(name)
    if (value === undefined) {
      using tensor = noGrad(make)
      value = this.weight(tensor, this.nameIn(layer, name))
      own.set(name, value)
    }
    return value
  }

  /** A name with that of the layer before it: 'rnn.W_l0'; alone where the model is the layer. */
  nameIn(layer: Module, name: string): string {
    const path = this.#paths.get(layer) ?? ''
    return path === '' ? name : `${path}.${name}`
  }

  /** The whole model. */
  async finish(name: string, version: string): Promise<Message> {
    if (this.#outputs.length === 0)
      throw rangeError(
        this.#fn,
        'model.toOnnx',
        'at least one output, declared at the call',
        'none',
      )
    const arrays = await Promise.all(this.#initializers.map(({ data }) => data))
    const weights = this.#initializers.map(({ name, dtype, shape }, i) =>
      tensorProto(name, dtype, shape, bytesOf(arrays[i] as Values)),
    )
    return modelProto(name, version, {
      nodes: this.#nodes,
      initializers: [...weights, ...this.#constants],
      inputs: this.#inputs,
      outputs: this.#outputs,
    })
  }

  #nameOf(what: string, value: Value): string {
    const name: unknown = value?.name
    if (typeof name !== 'string' || !this.#names.has(name))
      throw typeError(this.#fn, what, 'a value of this graph', value)
    if (this.#inBodies.has(name))
      throw typeError(this.#fn, what, 'a value from outside the body of a scan', value)
    return name
  }

  #checkOutside(what: string): void {
    if (this.#bodies.length > 0)
      throw typeError(this.#fn, what, 'a call outside the body of a scan', 'one in it')
  }

  #newName(name: string): string {
    if (typeof name !== 'string' || name === '') throw typeError(this.#fn, 'name', 'a name', name)
    if (this.#names.has(name))
      throw rangeError(this.#fn, 'name', 'one that the graph does not have', `'${name}'`)
    this.#names.add(name)
    return name
  }

  #freeName(base: string): string {
    let number = 1
    while (this.#names.has(`${base}_${number}`)) number++
    return this.#newName(`${base}_${number}`)
  }

  #computedName(base: string): string {
    const name = this.#freeName(base)
    this.#bodies.at(-1)?.push(name)
    return name
  }

  #dtype(dtype: OnnxDType): OnnxDType {
    return checkOneOf(this.#fn, 'dtype', dtype, Object.keys(DataType) as OnnxDType[])
  }

  #shape(shape: OnnxShape | null): OnnxShape | null {
    if (shape === null) return null
    if (!Array.isArray(shape))
      throw typeError(this.#fn, 'shape', 'an array of sizes, or null', shape)
    for (const [i, size] of shape.entries()) {
      if (typeof size === 'number') checkInteger(this.#fn, `shape[${i}]`, size, 0)
      else if (typeof size !== 'string' || size === '')
        throw typeError(this.#fn, `shape[${i}]`, 'a size or the name of one', size)
    }
    return shape
  }

  #checkAttributes(op: string, attributes: Readonly<Record<string, Attribute>>): void {
    for (const [name, value] of Object.entries(attributes)) {
      for (const item of [value].flat())
        if (typeof item === 'number') checkInteger(this.#fn, `${op}.${name}`, item, -(2 ** 53))
    }
  }
}
