/** Models of ONNX files as modules. */
import { checkDevice, type Device } from '../device.js'
import { checkOptions, checkSignal, describe } from '../errors.js'
import { tensor } from '../factories.js'
import { fileKind, HEAD_BYTES } from '../io/file_kind.js'
import { readBytes } from '../io/open_file.js'
import { checkPath } from '../io/path.js'
import { reason } from '../io/whole_file.js'
import { ModuleDict, ParameterDict } from '../nn/containers.js'
import { Parameter } from '../nn/parameter.js'
import { randomState, setRandomState } from '../random.js'
import { numelOf } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { Attributes, placeOf } from './attributes.js'
import { constantsOf, DTYPE_OF, type GraphPlan, LoadedModel, type Step } from './loaded.js'
import { type LoopPlan, scanOf } from './loop.js'
import { OPERATORS } from './operators.js'
import { type FileGraph, type FileNode, type FileTensor, readModel, typeName } from './read.js'
import { type Recurrent, recurrentLayer, runNode } from './recurrent_operator.js'
import { isRecurrentOp, planOf, type RecurrentOp, type RecurrentPlan } from './recurrent_plan.js'
import { Ints, MOST_INTS, type Val } from './values.js'

const FN = 'onnx.load'
/** What a file of protocol buffers can have. */
const MAX_BYTES = 2 ** 31 - 1
/** Versions of the operators whose meaning is known. */
const OPSETS = [6, 24] as const

/** What {@link load} takes. */
export interface OnnxLoadOptions {
  /** Where the weights go. Default: 'cpu'. */
  device?: string | Device
  /** Ends reading: the promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/**
 * Reads an ONNX file as a module with the same numbers, whose weights can be trained further.
 * `forward` takes the graph's inputs in order and returns its output, or an array of them:
 * `onnx.load<Tensor[]>`.
 *
 * LSTM (also with peepholes), GRU (of both linear_before_reset) and RNN become layers of nn, with both
 * layouts, all directions, initial states, and lengths of sequences. With clip, input_forget, other
 * activations, or weights that are inputs, they are computed step by step, which is slower. Beside them Gemm, MatMul, arithmetic, comparisons, Gather, Reshape, Transpose,
 * Slice, Split, Concat, reductions, Softmax, activations and the like, of versions 6 to 24; all that
 * `onnx.export` writes. Loops (Scan) run step by step. Weights of float16, bfloat16 and float64 become float32, whole numbers int32.
 * Dropout is off.
 * @param path of a file with all its weights in it, up to 2 GiB
 * @throws (rejects) Error that names the file and what is wrong: missing, damaged, cut short, more
 *   than there is memory for; or that names the node whose operator or attribute is not known
 */
export async function load<Output extends Tensor | Tensor[] = Tensor>(
  path: string | URL,
  options: OnnxLoadOptions = {},
): Promise<LoadedModel<Output>> {
  checkOptions(FN, options, ['device', 'signal'])
  const device = checkDevice(FN, 'device', options.device ?? 'cpu').toString()
  const signal = checkSignal(FN, options.signal)
  const name = checkPath(FN, 'path', path, 'the path of a file')
  try {
    const bytes = await readBytes(name, { limit: MAX_BYTES, signal })
    checkKind(bytes, name)
    const model = new Builder(readModel(bytes)).build<Output>()
    return device === 'cpu' ? model : model.to(device)
  } catch (error) {
    signal?.throwIfAborted()
    throw new Error(`[${FN}] ${name}: ${reason(error)}`, { cause: error })
  }
}

/** @throws Error that names what is no ONNX file */
function checkKind(bytes: Uint8Array, path: string): void {
  if (bytes.length === 0) throw new Error('it is empty')
  if (bytes[0] === 8) return
  const kind = fileKind(bytes.subarray(0, HEAD_BYTES), path)
  if (kind !== null) throw new Error(kind)
}

/** Names as keys of fields: without dots, each once, and none that is taken. */
class Keys {
  readonly #taken: object
  readonly #used = new Set<string>(['training', 'uncloneable'])

  constructor(taken: object) {
    this.#taken = taken
  }

  of(name: string): string {
    const base = name.replaceAll('.', '_') || 'value'
    let key = base
    for (let i = 1; this.#used.has(key) || key in this.#taken; i++) key = `${base}_${i}`
    this.#used.add(key)
    return key
  }
}

/** Makes the module of a graph. */
class Builder {
  readonly #graph: FileGraph
  readonly #tensors = new Map<string, FileTensor>()
  readonly #ints = new Map<string, Ints>()
  /** Of the graph, or of the body of the loop that is read. */
  #steps: Step[] = []
  readonly #layers = new ModuleDict<Recurrent>()
  readonly #layerKeys = new Keys(this.#layers)
  /** Layers by their weights: cells that are called twice share them. */
  readonly #shared = new Map<string, { key: string; plan: RecurrentPlan }>()
  readonly #known = new Set<string>()
  /**
   * Of the loops around what is read: other names for what their bodies define, so that two bodies
   * may have the same ones.
   */
  readonly #scopes: Map<string, string>[] = []
  /** Weights that operators beside those that recur read. */
  readonly #read = new Set<string>()
  readonly #constant = new Set<string>()
  readonly #inLayers = new Set<string>()

  constructor(graph: FileGraph) {
    this.#graph = graph
  }

  build<Output extends Tensor | Tensor[]>(): LoadedModel<Output> {
    const { opset, nodes, tensors, outputs } = this.#graph
    const [least, most] = OPSETS
    if (opset < least || opset > most)
      throw new Error(
        `it uses version ${opset} of the operators; known: ${least} to ${most} (in Python: onnx.version_converter.convert_version(model, 17))`,
      )
    for (const one of tensors) this.#define(one.name, 'weight')
    for (const one of tensors) this.#tensors.set(one.name, one)
    // Some files name weights as inputs, too.
    const inputs = this.#graph.inputs.filter(({ name }) => !this.#tensors.has(name))
    for (const { name, type } of inputs) {
      this.#define(name, 'input')
      if (type !== 0 && DTYPE_OF[type] === undefined)
        throw new Error(`input ${describe(name)} is of type ${typeName(type)}, which is not read`)
    }
    for (const node of nodes) this.#add(node)
    if (outputs.length === 0) throw new Error('it has no outputs')
    for (const { name } of outputs) {
      if (!this.#known.has(name))
        throw new Error(`damaged: nothing gives the output ${describe(name)}`)
      this.#read.add(name)
    }
    const { weights, constants, weightKeys, constantKeys } = this.#placed()
    const plan: GraphPlan = {
      steps: this.#steps,
      inputs,
      outputs: outputs.map(({ name }) => name),
      ints: this.#ints,
      weights: weightKeys,
      constants: constantKeys,
    }
    return new LoadedModel<Output>(plan, this.#layers, weights, constantsOf(constants))
  }

  #inScope(name: string): string {
    const scope = this.#scopes.findLast((scope) => scope.has(name))
    return scope?.get(name) ?? name
  }

  #define(name: string, what: string): void {
    if (name === '' || this.#known.has(name))
      throw new Error(`damaged: ${what} ${describe(name)} is there twice, or without a name`)
    this.#known.add(name)
  }

  #add(node: FileNode): void {
    const place = placeOf(node)
    if (node.domain !== '' && node.domain !== 'ai.onnx')
      throw new Error(
        `${place}: operators of ${describe(node.domain)} are not known, only those of ONNX itself`,
      )
    for (const name of node.inputs)
      if (name !== '' && !this.#known.has(name))
        throw new Error(`damaged: ${place}: nothing before it gives its input ${describe(name)}`)
    if (node.op === 'Constant') this.#addConstant(node)
    else if (isRecurrentOp(node.op)) this.#addLayer(node, node.op)
    else if (node.op === 'Scan') this.#addLoop(node)
    else this.#addOperator(node)
    for (const name of node.outputs) if (name !== '') this.#define(name, 'value')
  }

  #addConstant(node: FileNode): void {
    const [name = ''] = node.outputs
    const given = new Attributes(node, [
      'value',
      'value_float',
      'value_floats',
      'value_int',
      'value_ints',
    ])
    const value = given.tensor('value')
    const ints = given.ints('value_ints')
    const floats = given.floats('value_floats')
    this.#constant.add(name)
    if (value !== null) this.#tensors.set(name, { ...value, name })
    else if (given.has('value_int')) this.#ints.set(name, new Ints([], [given.int('value_int', 0)]))
    else if (ints !== null) this.#ints.set(name, Ints.list(ints))
    else if (given.has('value_float'))
      this.#tensors.set(name, floatsOf(name, [], [given.float('value_float', 0)]))
    else if (floats !== null) this.#tensors.set(name, floatsOf(name, [floats.length], floats))
    else given.refuse('it has no value')
  }

  #addOperator(node: FileNode): void {
    const operator = OPERATORS.get(node.op)
    if (operator === undefined) {
      const known = [...OPERATORS.keys(), 'Constant', 'Scan', 'LSTM', 'GRU', 'RNN']
        .sort()
        .join(', ')
      throw new Error(`${placeOf(node)}: this operator is not known; known: ${known}`)
    }
    const given = new Attributes(node, operator.attributes)
    const inputs = withoutEnd(node.inputs)
    const outputs = withoutEnd(node.outputs)
    const [least, most] = operator.inputs
    if (inputs.length < least || inputs.length > most)
      given.refuse(`expected ${least} to ${most} inputs, got ${inputs.length}`)
    if (inputs.slice(0, least).includes('')) given.refuse('one of its inputs is left out')
    if (outputs.length < 1 || outputs.length > operator.outputs)
      given.refuse(`expected 1 to ${operator.outputs} outputs, got ${outputs.length}`)
    for (const name of inputs) this.#read.add(name)
    const run = operator.make(given, this.#graph.opset, outputs.length)
    this.#steps.push({ node, inputs, outputs, run })
  }

  #addLoop(node: FileNode): void {
    const { body, ...rest } = scanOf(node, this.#graph.opset)
    for (const name of node.inputs) this.#read.add(name)
    const scope = new Map<string, string>()
    this.#scopes.push(scope)
    const prefix = `${node.outputs.find((name) => name !== '') ?? ''}/`
    const inner = (name: string): string => {
      if (name === '') return ''
      scope.set(name, prefix + name)
      return prefix + name
    }
    for (const one of body.tensors) {
      const name = inner(one.name)
      this.#define(name, 'weight')
      this.#tensors.set(name, { ...one, name })
    }
    const takes = body.inputs.map(({ name }) => inner(name))
    for (const name of takes) this.#define(name, 'input')
    const outside = this.#steps
    const steps: Step[] = []
    this.#steps = steps
    for (const one of body.nodes) {
      const inputs = one.inputs.map((name) => this.#inScope(name))
      this.#add({ ...one, inputs, outputs: one.outputs.map(inner) })
    }
    this.#steps = outside
    const gives = body.outputs.map(({ name }) => this.#inScope(name))
    for (const name of gives) {
      if (!this.#known.has(name))
        throw new Error(`damaged: ${placeOf(node)}: nothing gives ${describe(name)} of its body`)
      this.#read.add(name)
    }
    for (const name of scope.values()) this.#known.delete(name)
    this.#scopes.pop()
    const loop: LoopPlan<Step> = { ...rest, steps, takes, gives }
    this.#steps.push({ node, inputs: node.inputs, outputs: node.outputs, loop })
  }

  #addLayer(node: FileNode, op: RecurrentOp): void {
    const [x = '', w = '', r = '', b = '', lengths = '', h = '', c = '', p = ''] = node.inputs
    const refuse = (what: string): never => {
      throw new Error(`${placeOf(node)}: ${what}`)
    }
    if (x === '' || w === '' || r === '') refuse('input X, W or R is left out')
    if (node.inputs.length > (op === 'LSTM' ? 8 : 6)) refuse('it has too many inputs')
    if (node.outputs.length > (op === 'LSTM' ? 3 : 2)) refuse('it has too many outputs')
    const plan = planOf(node, op)
    const weights = [w, r, b, p].map((name) => this.#tensors.get(name) ?? null)
    const [W = null, R = null, B = null, P = null] = weights
    for (const one of weights)
      if (one !== null && !isFloat(one))
        refuse(`weight ${describe(one.name)} is of type ${one.type}, not of float`)
    const computed = (b !== '' && B === null) || (p !== '' && P === null)
    if (W === null || R === null || computed || !plan.plain) {
      for (const name of node.inputs) this.#read.add(name)
      const run = (given: readonly (Val | null | undefined)[], device: string): readonly Val[] =>
        runNode(plan, given, device)
      this.#steps.push({ node, inputs: node.inputs, outputs: node.outputs, run })
      return
    }
    const attributes = [...node.attributes.values()].map(({ tensor: _, ...rest }) => rest)
    const id = JSON.stringify([
      ...[op, w, r, b, p],
      attributes.sort((a, z) => (a.name < z.name ? -1 : 1)),
    ])
    let found = this.#shared.get(id)
    if (found === undefined) {
      const random = randomState()
      try {
        const layer = recurrentLayer(node, plan, [W, R, B, P])
        const key = this.#layerKeys.of(node.name === '' ? op : node.name)
        this.#layers.set(key, layer)
        found = { key, plan }
        this.#shared.set(id, found)
      } finally {
        setRandomState(random)
      }
    }
    for (const name of [w, r, b, p]) this.#inLayers.add(name)
    const inputs = [x, '', '', '', lengths, h, c]
    for (const name of inputs) this.#read.add(name)
    this.#steps.push({ node, inputs, outputs: node.outputs, layer: found.key, plan: found.plan })
  }

  /** Weights as parameters, constants as buffers, short lists of whole numbers as they are. */
  #placed(): {
    weights: ParameterDict
    constants: Map<string, Tensor>
    weightKeys: Map<string, string>
    constantKeys: Map<string, string>
  } {
    const weights = new ParameterDict()
    const constants = new Map<string, Tensor>()
    const [weightKeys, constantKeys] = [new Map<string, string>(), new Map<string, string>()]
    const [forWeights, forConstants] = [new Keys(weights), new Keys(constantsOf(new Map()))]
    for (const [name, one] of this.#tensors) {
      if (!this.#read.has(name)) continue // in a layer, or nowhere
      if (this.#inLayers.has(name))
        throw new Error(
          `weight ${describe(name)} belongs to an LSTM, GRU or RNN and to another operator, which is not read`,
        )
      const { shape } = one
      const integers = one.integers()
      const short = numelOf(shape) <= MOST_INTS
      if (short && integers !== null) {
        this.#ints.set(name, new Ints(shape, integers))
        continue
      }
      const values = one.values()
      if (short && one.type === 'BOOL') {
        this.#ints.set(name, new Ints(shape, [...values], 'bool'))
        continue
      }
      const dtype = isFloat(one) ? 'float32' : one.type === 'BOOL' ? 'bool' : 'int32'
      const made = tensor(values, { shape, dtype, device: 'cpu' })
      if (isFloat(one) && !this.#constant.has(name)) {
        const key = forWeights.of(name)
        weights.set(key, Parameter(made))
        weightKeys.set(name, key)
      } else {
        const key = forConstants.of(name)
        constants.set(key, made)
        constantKeys.set(name, key)
      }
    }
    return { weights, constants, weightKeys, constantKeys }
  }
}

const isFloat = ({ type }: FileTensor): boolean => ['F32', 'F16', 'BF16', 'F64'].includes(type)

/** Without those that are left out at the end. */
function withoutEnd(names: readonly string[]): string[] {
  const list = [...names]
  while (list.at(-1) === '') list.pop()
  return list
}

const floatsOf = (name: string, shape: number[], values: readonly number[]): FileTensor => ({
  ...{ name, type: 'F32', shape },
  values: () => Float32Array.from(values),
  integers: () => null,
})
