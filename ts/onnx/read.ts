/** The messages of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, read. */
import type { Values } from '../dtype.js'
import { DTYPES, type FileDType } from '../io/dtypes.js'
import {
  addInts,
  expectBytes,
  expectFloat,
  expectInt,
  expectText,
  type Field,
  fieldsOf,
} from '../io/protobuf_reader.js'
import { numelOf } from '../shape.js'

/** More of something than any model has. */
const MOST = { nodes: 100_000, tensors: 65_536, names: 4096, ints: 65_536, dims: 8 } as const
/** How deep loops are in loops. */
const MOST_LOOPS = 8

/** TensorProto.DataType of what is read. */
const TYPES: Readonly<Record<number, FileDType>> = {
  1: 'F32',
  2: 'U8',
  3: 'I8',
  4: 'U16',
  5: 'I16',
  6: 'I32',
  7: 'I64',
  9: 'BOOL',
  10: 'F16',
  11: 'F64',
  12: 'U32',
  13: 'U64',
  16: 'BF16',
}
const NAMES: Readonly<Record<number, string>> = {
  8: 'string',
  14: 'complex64',
  15: 'complex128',
  17: 'float8',
  18: 'float8',
  19: 'float8',
  20: 'float8',
  21: 'uint4',
  22: 'int4',
  23: 'float4',
}

/** A type by its name. @param code TensorProto.DataType */
export const typeName = (code: number): string => NAMES[code] ?? String(code)

/** A tensor of the file. */
export interface FileTensor {
  name: string
  type: FileDType
  shape: readonly number[]
  values(): Values
  /** Of whole numbers, exactly; else null. */
  integers(): number[] | null
}

/** An attribute of a node: what has been given for it. */
export interface FileAttribute {
  name: string
  /** AttributeProto.AttributeType */
  type: number
  float: number
  int: number
  text: string
  tensor: FileTensor | null
  graph: FileBody | null
  floats: readonly number[]
  ints: readonly number[]
  texts: readonly string[]
}

export interface FileNode {
  name: string
  op: string
  domain: string
  /** '': left out. */
  inputs: readonly string[]
  outputs: readonly string[]
  attributes: ReadonlyMap<string, FileAttribute>
}

/** An input or output. */
export interface FileValue {
  name: string
  /** TensorProto.DataType; 0: not told. */
  type: number
  /** Sizes; null where one varies. Null: not even the rank is told. */
  shape: readonly (number | null)[] | null
}

/** A graph, or what an operator runs for every step of a loop. */
export interface FileBody {
  nodes: readonly FileNode[]
  tensors: readonly FileTensor[]
  inputs: readonly FileValue[]
  outputs: readonly FileValue[]
}

export interface FileGraph extends FileBody {
  opset: number
}

function add<T>(list: T[], value: T, most: number, what: string): void {
  if (list.length >= most) throw new Error(`it has more than ${most} ${what}`)
  list.push(value)
}

/** The graph of a ModelProto. @throws Error that says what is wrong */
export function readModel(bytes: Uint8Array): FileGraph {
  let graph: Uint8Array | null = null
  let opset: number | null = null
  for (const field of fieldsOf(bytes)) {
    if (field.number === 7) {
      if (graph !== null) throw new Error('damaged: it has more than one graph')
      graph = expectBytes(field)
    } else if (field.number === 8) {
      const [domain, version] = readOpset(expectBytes(field))
      if (domain === '' || domain === 'ai.onnx') opset = version
    } else if (field.number === 25) {
      throw new Error('it has functions of its own, which are not read: inline them first')
    }
  }
  if (graph === null) throw new Error('it is no ONNX model, or it is damaged: there is no graph')
  if (opset === null) throw new Error('it does not say which version of the operators it uses')
  return { ...readGraph(graph, 0), opset }
}

function readOpset(bytes: Uint8Array): [domain: string, version: number] {
  let domain = ''
  let version = 0
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) domain = expectText(field)
    else if (field.number === 2) version = expectInt(field)
  }
  return [domain, version]
}

/** @param loops around it */
function readGraph(bytes: Uint8Array, loops: number): FileBody {
  if (loops > MOST_LOOPS) throw new Error(`it has loops in loops more than ${MOST_LOOPS} deep`)
  const nodes: FileNode[] = []
  const tensors: FileTensor[] = []
  const inputs: FileValue[] = []
  const outputs: FileValue[] = []
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) add(nodes, readNode(expectBytes(field), loops), MOST.nodes, 'operators')
    else if (field.number === 5)
      add(tensors, readTensor(expectBytes(field)), MOST.tensors, 'weights')
    else if (field.number === 11) add(inputs, readValue(expectBytes(field)), MOST.names, 'inputs')
    else if (field.number === 12) add(outputs, readValue(expectBytes(field)), MOST.names, 'outputs')
    else if (field.number === 15) throw new Error('it has sparse weights, which are not read')
  }
  return { nodes, tensors, inputs, outputs }
}

function readNode(bytes: Uint8Array, loops: number): FileNode {
  const node = { name: '', op: '', domain: '', inputs: [] as string[], outputs: [] as string[] }
  const attributes = new Map<string, FileAttribute>()
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) add(node.inputs, expectText(field), MOST.names, 'inputs of an operator')
    else if (field.number === 2)
      add(node.outputs, expectText(field), MOST.names, 'outputs of an operator')
    else if (field.number === 3) node.name = expectText(field)
    else if (field.number === 4) node.op = expectText(field)
    else if (field.number === 7) node.domain = expectText(field)
    else if (field.number === 5) {
      const attribute = readAttribute(expectBytes(field), loops)
      attributes.set(attribute.name, attribute)
    }
  }
  return { ...node, attributes }
}

function readAttribute(bytes: Uint8Array, loops: number): FileAttribute {
  const found: FileAttribute = {
    ...{ name: '', type: 0, float: 0, int: 0, text: '', tensor: null, graph: null },
    ...{ floats: [], ints: [], texts: [] },
  }
  const floats: number[] = []
  const ints: number[] = []
  const texts: string[] = []
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) found.name = expectText(field)
    else if (field.number === 2) found.float = expectFloat(field)
    else if (field.number === 3) found.int = expectInt(field)
    else if (field.number === 4) found.text = Buffer.from(expectBytes(field)).toString('utf8')
    else if (field.number === 5) found.tensor = readTensor(expectBytes(field))
    else if (field.number === 6) found.graph = readGraph(expectBytes(field), loops + 1)
    else if (field.number === 7) addFloats(floats, field)
    else if (field.number === 8) addInts(ints, field, MOST.ints)
    else if (field.number === 9) add(texts, expectText(field), MOST.names, 'texts of an attribute')
    else if (field.number === 20) found.type = expectInt(field)
  }
  return { ...found, floats, ints, texts }
}

function addFloats(list: number[], field: Field): void {
  const { bytes } = field
  if (field.kind === 'varint' || bytes.length % 4 !== 0)
    throw new Error('damaged: a list of floats')
  if (list.length + bytes.length / 4 > MOST.ints)
    throw new Error(`it has a list of more than ${MOST.ints} numbers`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let i = 0; i < bytes.length; i += 4) list.push(view.getFloat32(i, true))
}

function readValue(bytes: Uint8Array): FileValue {
  const value: FileValue = { name: '', type: 0, shape: null }
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) value.name = expectText(field)
    else if (field.number === 2)
      for (const kind of fieldsOf(expectBytes(field))) {
        if (kind.number !== 1)
          throw new Error(`'${value.name}' is no tensor; sequences and maps are not read`)
        for (const part of fieldsOf(expectBytes(kind))) {
          if (part.number === 1) value.type = expectInt(part)
          else if (part.number === 2) value.shape = readDims(expectBytes(part))
        }
      }
  }
  return value
}

function readDims(bytes: Uint8Array): (number | null)[] {
  const dims: (number | null)[] = []
  for (const field of fieldsOf(bytes)) {
    if (field.number !== 1) continue
    let size: number | null = null
    for (const part of fieldsOf(expectBytes(field))) if (part.number === 1) size = expectInt(part)
    // Some write 0 or -1 for a size that varies.
    add(dims, size !== null && size > 0 ? size : null, MOST.dims, 'dimensions')
  }
  return dims
}

/** What a TensorProto has its values in, as far as it is read. */
interface Lists {
  raw: Uint8Array | null
  floats: Uint8Array[]
  doubles: Uint8Array[]
  fields: Field[]
}

function readTensor(bytes: Uint8Array): FileTensor {
  const shape: number[] = []
  let name = ''
  let code = 0
  const lists: Lists = { raw: null, floats: [], doubles: [], fields: [] }
  let elsewhere = false
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) addInts(shape, field, MOST.dims)
    else if (field.number === 2) code = expectInt(field)
    else if (field.number === 4) lists.floats.push(field.bytes)
    else if (field.number === 5 || field.number === 7 || field.number === 11)
      lists.fields.push(field)
    else if (field.number === 8) name = expectText(field)
    else if (field.number === 9) lists.raw = expectBytes(field)
    else if (field.number === 10) lists.doubles.push(field.bytes)
    else if (field.number === 13 || (field.number === 14 && expectInt(field) !== 0))
      elsewhere = true
  }
  const what = `weight '${name}'`
  if (elsewhere)
    throw new Error(
      `${what} lies in another file, which is not read: save the model in one file (in Python: onnx.save(model, path, save_as_external_data=False))`,
    )
  const type = TYPES[code]
  if (type === undefined) throw new Error(`${what} is of type ${typeName(code)}, which is not read`)
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0))
    throw new Error(`damaged: ${what} has the shape (${shape.join(', ')})`)
  const numel = numelOf(shape)
  const data = lists.raw ?? rawOf(lists, type, numel, what)
  if (data.length !== numel * DTYPES[type].bytes)
    throw new Error(
      `damaged: ${what} of shape (${shape.join(', ')}) has ${data.length} bytes of ${type}`,
    )
  return {
    name,
    type,
    shape,
    values: () => DTYPES[type].decode(data, name),
    integers: () => integersOf(data, type),
  }
}

/** The values of a tensor that has them one by one, as they would be in raw data. */
function rawOf(lists: Lists, type: FileDType, numel: number, what: string): Uint8Array {
  if (type === 'F32') return Buffer.concat(lists.floats)
  if (type === 'F64') return Buffer.concat(lists.doubles)
  const numbers: number[] = []
  for (const field of lists.fields) addInts(numbers, field, Math.max(numel, 1))
  if (numbers.length !== numel)
    throw new Error(`damaged: ${what} has ${numbers.length} values where ${numel} belong`)
  const { bytes } = DTYPES[type]
  const out = Buffer.alloc(numel * bytes)
  numbers.forEach((value, i) => {
    const bits = BigInt.asUintN(8 * bytes, BigInt(value))
    for (let b = 0; b < bytes; b++) out[i * bytes + b] = Number((bits >> BigInt(8 * b)) & 255n)
  })
  return out
}

function integersOf(data: Uint8Array, type: FileDType): number[] | null {
  const view = new DataView(data.buffer, data.byteOffset, data.length)
  if (type === 'I64')
    return Array.from({ length: data.length / 8 }, (_, i) => Number(view.getBigInt64(8 * i, true)))
  if (type === 'I32')
    return Array.from({ length: data.length / 4 }, (_, i) => view.getInt32(4 * i, true))
  return null
}
