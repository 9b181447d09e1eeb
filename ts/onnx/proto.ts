/** The messages of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that a model is made of. */
import { Message } from '../io/protobuf.js'

/** The version of the operators, and that of the format which came with it. */
const OPSET = 17
const IR_VERSION = 8

/** TensorProto.DataType */
export const DataType = { float32: 1, int32: 6, int64: 7, bool: 9 } as const
/** Types of elements, by ONNX’s names. */
export type OnnxDType = keyof typeof DataType

/** AttributeProto.AttributeType */
const AttributeType = { float: 1, int: 2, string: 3, graph: 5, ints: 7, strings: 8 } as const

/** Numbers are whole; other ones are `{ float }`. */
export type Attribute = number | string | readonly number[] | readonly string[] | { float: number }

/** With those that only {@link Graph.scan} makes. */
export type AnyAttribute = Attribute | { graph: Message }

function attribute(name: string, value: AnyAttribute): Message {
  const message = new Message().string(1, name)
  if (typeof value === 'number') return message.int(3, value).int(20, AttributeType.int)
  if (typeof value === 'string') return message.string(4, value).int(20, AttributeType.string)
  if ('graph' in value) return message.message(6, value.graph).int(20, AttributeType.graph)
  if ('float' in value) return message.float(2, value.float).int(20, AttributeType.float)
  const texts = typeof value[0] === 'string'
  for (const item of value) {
    if (typeof item === 'string') message.string(9, item)
    else message.int(8, item)
  }
  return message.int(20, texts ? AttributeType.strings : AttributeType.ints)
}

/** A NodeProto: one operator. */
export function nodeProto(
  name: string,
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, AnyAttribute>>,
): Message {
  const message = new Message()
  for (const input of inputs) message.string(1, input)
  for (const output of outputs) message.string(2, output)
  message.string(3, name).string(4, op)
  for (const [key, value] of Object.entries(attributes)) message.message(5, attribute(key, value))
  return message
}

/** A TensorProto. @param raw the values, little-endian */
export function tensorProto(
  name: string,
  dtype: OnnxDType,
  shape: readonly number[],
  raw: Uint8Array,
): Message {
  const message = new Message()
  for (const size of shape) message.int(1, size)
  return message.int(2, DataType[dtype]).string(8, name).bytes(9, raw)
}

/** A ValueInfoProto. @param shape names are sizes that vary; null: not even the rank is known */
export function valueProto(
  name: string,
  dtype: OnnxDType,
  shape: readonly (number | string)[] | null,
): Message {
  const type = new Message().int(1, DataType[dtype])
  if (shape !== null) {
    const dims = new Message()
    for (const size of shape) {
      const dim = new Message()
      dims.message(1, typeof size === 'number' ? dim.int(1, size) : dim.string(2, size))
    }
    type.message(2, dims)
  }
  return new Message().string(1, name).message(2, new Message().message(1, type))
}

/** A ValueInfoProto of a body, whose types follow from what is around it. */
export const innerValueProto = (name: string): Message => new Message().string(1, name)

/** What a GraphProto has. */
export type GraphParts = Record<'nodes' | 'initializers' | 'inputs' | 'outputs', readonly Message[]>

/** A GraphProto. */
export function graphProto(name: string, graph: GraphParts): Message {
  const body = new Message()
  for (const node of graph.nodes) body.message(1, node)
  body.string(2, name)
  for (const tensor of graph.initializers) body.message(5, tensor)
  for (const input of graph.inputs) body.message(11, input)
  for (const output of graph.outputs) body.message(12, output)
  return body
}

/** A ModelProto with its GraphProto. */
export function modelProto(name: string, version: string, graph: GraphParts): Message {
  const body = graphProto(name, graph)
  return new Message()
    .int(1, IR_VERSION)
    .string(2, 'fused-rnn')
    .string(3, version)
    .message(7, body)
    .message(8, new Message().string(1, '').int(2, OPSET))
}
