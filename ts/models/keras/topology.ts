/** What a model of Keras or TensorFlow.js consists of: a chain of layers, by its configuration. */
import { describe } from '../../errors.js'

/** A layer as the file describes it. */
export interface KerasLayer {
  className: string
  name: string
  config: Config
}

export type Config = Readonly<Record<string, unknown>>

export interface Topology {
  layers: KerasLayer[]
  /** Sizes of the input, null where any will do; null: not known. */
  inputShape: (number | null)[] | null
  /** Whether it is of Keras before version 3, or of TensorFlow.js. */
  old: boolean
}

const MAX_LAYERS = 1024

export function asObject(value: unknown, what: string): Config {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`it is damaged: ${what} is ${describe(value)}`)
  return value as Config
}

/** The value, or of a `{ class_name, config }` its name. */
const isArray = (value: unknown): value is unknown[] => Array.isArray(value)

/** @throws Error that names the layer that is not known, or where the graph branches */
export function topologyOf(model: unknown, old: boolean): Topology {
  const { class_name: kind, config } = asObject(model, 'the configuration of the model')
  if (kind !== 'Sequential' && kind !== 'Functional' && kind !== 'Model')
    throw new Error(
      `it is a model of the class ${describe(kind)}; only Sequential and functional models can be read`,
    )
  const given = isArray(config) ? config : asObject(config, 'the configuration').layers
  if (!isArray(given)) throw new Error('it is damaged: it has no layers')
  if (given.length > MAX_LAYERS)
    throw new Error(`it has ${given.length} layers, more than ${MAX_LAYERS}`)
  const all = given.map((layer, i) => layerOf(layer, `layer ${i}`))
  const chain =
    kind === 'Sequential' ? all : chained(all, given, asObject(config, 'the configuration'))
  const layers = chain.filter(({ className }) => className !== 'InputLayer')
  const names = new Set(layers.map(({ name }) => name))
  if (names.size !== layers.length) throw new Error('it is damaged: two layers have the same name')
  if (layers.length === 0) throw new Error('it has no layers')
  const first = chain[0]?.config ?? {}
  const shape = first.batch_shape ?? first.batch_input_shape
  const isShape = isArray(shape) && shape.every((n) => n === null || Number.isSafeInteger(n))
  return { layers, inputShape: isShape ? (shape as (number | null)[]) : null, old }
}

/** @param place for what has no name */
export function layerOf(value: unknown, place: string): KerasLayer {
  const { class_name: className, config } = asObject(value, place)
  const { name } = asObject(config, `the configuration of ${place}`)
  if (typeof className !== 'string') throw new Error(`it is damaged: ${place} has no class`)
  if (typeof name !== 'string' || name === '')
    throw new Error(`it is damaged: ${place} has no name`)
  if (/[./]/.test(name)) throw new Error(`${place} has the name ${describe(name)}`)
  return { className, name, config: config as Config }
}

/** The layers of a functional model from its input to its output. */
function chained(
  all: readonly KerasLayer[],
  given: readonly unknown[],
  config: Config,
): KerasLayer[] {
  const after = new Map<string, KerasLayer>()
  for (const [i, layer] of all.entries()) {
    const { inbound_nodes: nodes } = given[i] as Config
    const { className, name } = layer
    if (!isArray(nodes)) throw new Error(`it is damaged: '${name}' has no list of inputs`)
    if (className === 'InputLayer') continue
    if (nodes.length !== 1) throw branches(`the layer '${name}' is used ${nodes.length} times`)
    const inputs = inputsOf(nodes[0])
    if (inputs.length !== 1) throw branches(`the layer '${name}' has ${inputs.length} inputs`)
    const before = inputs[0] as string
    const other = after.get(before)
    if (other !== undefined)
      throw branches(`both '${other.name}' and '${name}' take the output of '${before}'`)
    after.set(before, layer)
  }
  const [input, ...inputs] = ends(config.input_layers)
  const [output, ...outputs] = ends(config.output_layers)
  if (inputs.length > 0 || outputs.length > 0)
    throw branches(`it has ${1 + inputs.length} inputs and ${1 + outputs.length} outputs`)
  const first = all.find(({ name }) => name === input)
  if (first === undefined) throw new Error('it is damaged: its input is no layer')
  const chain = [first]
  for (let next = after.get(first.name); next !== undefined; next = after.get(next.name)) {
    if (chain.length > all.length) throw new Error('it is damaged: its layers go in a circle')
    chain.push(next)
  }
  if (chain.length !== all.length)
    throw branches('not all layers lie between its input and its output')
  if (chain.at(-1)?.name !== output) throw branches('its output is not that of its last layer')
  return chain
}

const branches = (what: string): Error =>
  new Error(
    `${what}: a graph with branches cannot be read, only layers one after the other; export it to ONNX, or build it with nn and load the weights`,
  )

/** `[['a', 0, 0]]`, or of Keras 3 `['a', 0, 0]`. */
function ends(value: unknown): string[] {
  if (!isArray(value)) throw new Error('it is damaged: it has no inputs or outputs')
  if (typeof value[0] === 'string') return [value[0]]
  return value.map((one) => {
    if (!isArray(one) || typeof one[0] !== 'string')
      throw new Error('it is damaged: an input or output has no name')
    return one[0]
  })
}

/** The names of the layers whose outputs a layer gets. */
function inputsOf(node: unknown): string[] {
  if (isArray(node)) {
    const entries = typeof node[0] === 'string' ? [node] : node
    return entries.flatMap((entry) => {
      if (!isArray(entry) || typeof entry[0] !== 'string')
        throw new Error('it is damaged: an input of a layer has no name')
      return [entry[0], ...tensorsIn(entry[3], 0)]
    })
  }
  const { args, kwargs } = asObject(node, 'an input of a layer')
  return [...tensorsIn(args, 0), ...tensorsIn(kwargs, 0)]
}

/** Tensors among the arguments of a call, wherever they are. */
function tensorsIn(value: unknown, depth: number): string[] {
  if (typeof value !== 'object' || value === null || depth > 16) return []
  if (isArray(value)) return value.flatMap((item) => tensorsIn(item, depth + 1))
  const { class_name: kind, config } = value as Config
  if (kind !== '__keras_tensor__')
    return Object.values(value).flatMap((item) => tensorsIn(item, depth + 1))
  const { keras_history: history } = asObject(config, 'an input of a layer')
  if (!isArray(history) || typeof history[0] !== 'string')
    throw new Error('it is damaged: an input of a layer has no name')
  return [history[0]]
}
