/** Arrays of every kind, and what happens to them after a call: nothing that the library notices. */
import fc from 'fast-check'
import { io, nn, Tensor, tensor } from 'fused-rnn'
import { randomValues } from '../helpers.js'
import * as draw from './arbitraries.js'
import { difference, floats, numel, type Values } from './reference.js'
import { isRefusal, type Property } from './run.js'

const TYPES = [
  Float32Array,
  Float64Array,
  Int32Array,
  Int16Array,
  Int8Array,
  Uint32Array,
  Uint16Array,
  Uint8Array,
  Uint8ClampedArray,
] as const

function same(found: Values, wanted: Values): void {
  const what = difference(found, wanted, 0)
  if (what !== null) throw new Error(what)
}

const typed = fc.record({
  type: fc.constantFrom(...TYPES),
  memory: fc.constantFrom('own', 'shared', 'resizable', 'shrunk', 'detached', 'lying'),
  offset: fc.nat({ max: 3 }),
  shape: draw.shapes(3),
  given: fc.boolean(),
  dtype: fc.constantFrom(undefined, 'float32' as const, 'int32' as const),
  seed: fc.nat(),
})
type Typed = typeof typed extends fc.Arbitrary<infer T> ? T : never

/** Memory of the number of bytes that the case says. */
function memoryOf(kind: string, bytes: number): ArrayBufferLike {
  if (kind === 'shared') return new SharedArrayBuffer(bytes)
  if (kind === 'own' || kind === 'detached' || kind === 'lying') return new ArrayBuffer(bytes)
  // The types of Node 20 do not have what Node 20 does.
  return Reflect.construct(ArrayBuffer, [bytes, { maxByteLength: bytes + 64 }]) as ArrayBuffer
}

async function typedArrays({
  type,
  memory,
  offset,
  shape,
  given,
  dtype,
  seed,
}: Typed): Promise<void> {
  const n = numel(shape)
  const width = type.BYTES_PER_ELEMENT
  const buffer = memoryOf(memory, (offset + n) * width)
  const array = new type(buffer as ArrayBuffer, offset * width, n)
  array.set(randomValues(n, seed).map((v) => Math.round(v * 100)))
  const data = [...array]
  if (memory === 'lying') Object.defineProperty(array, 'length', { value: n + 1000 })
  if (memory === 'detached') structuredClone(buffer, { transfer: [buffer as ArrayBuffer] })
  if (memory === 'shrunk') Reflect.apply(Reflect.get(buffer, 'resize'), buffer, [0])
  let result: Tensor
  try {
    result = tensor(array, { ...(given && { shape }), ...(dtype && { dtype }) })
  } catch (error) {
    // An array that has lost its memory, or says that it is another.
    const lost = ['detached', 'shrunk', 'lying'].includes(memory)
    const large = dtype === 'int32' && data.some((value) => value >= 2 ** 31)
    if (isRefusal(error) && (lost || large)) return
    throw error
  }
  const values = [...data]
  if (memory !== 'detached' && memory !== 'shrunk') array.fill(77)
  if (memory !== 'own' && memory !== 'shared' && memory !== 'resizable' && n > 0)
    throw new Error('not refused')
  const own = type === Int32Array ? 'int32' : 'float32'
  const wanted: Values = { shape: given ? shape : [n], dtype: dtype ?? own, data: values }
  same(await draw.fromTensor(result), wanted)
}

const nested = fc.tuple(draw.shapes(4), fc.nat())

async function nestedArrays([shape, seed]: [number[], number]): Promise<void> {
  const flat = [...randomValues(numel(shape), seed)]
  let at = 0
  const make = (sizes: readonly number[]): unknown => {
    const [size, ...rest] = sizes
    return size === undefined ? flat[at++] : Array.from({ length: size }, () => make(rest))
  }
  const empty = shape.indexOf(0)
  const known = empty < 0 ? shape : shape.slice(0, empty + 1)
  const values = make(shape)
  const result = tensor(values as number[])
  if (Array.isArray(values)) values.length = 0
  same(await draw.fromTensor(result), floats(known, flat))
  const first = await result.data()
  first.fill(77)
  same(await draw.fromTensor(result), floats(known, flat))
}

const packing = fc.record({
  lengths: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
  changes: fc.array(
    fc.tuple(fc.nat(), fc.constantFrom(0, -1, 1, 1000, 2 ** 30, 2 ** 31 - 1, -(2 ** 31))),
    { maxLength: 2 },
  ),
})

/** What a packed sequence is made of belongs to it alone. */
async function packedSequences({
  lengths,
  changes,
}: {
  lengths: number[]
  changes: [number, number][]
}): Promise<void> {
  const own = Int32Array.from(lengths)
  const x = draw.toTensor(floats([4, lengths.length, 2], randomValues(8 * lengths.length, 3)))
  const packed = nn.utils.rnn.packPaddedSequence(x, own, { enforceSorted: false })
  own.fill(1000)
  const layer = new nn.LSTM(2, 3, { bidirectional: true })
  const before = await draw.fromTensor(layer.forward(packed)[0].data)
  const [, sizes] = nn.utils.rnn.padPackedSequence(packed)
  if (String(sizes) !== String(lengths)) throw new Error(`lengths ${sizes} of ${lengths}`)
  sizes.fill(1000)
  const { batchSizes } = packed
  for (const [at, value] of changes) batchSizes[at % batchSizes.length] = value
  same(await draw.fromTensor(layer.forward(packed)[0].data), before)
}

const maps = fc.array(fc.tuple(draw.shapes(3), fc.boolean()), { maxLength: 4 })

/** Through the bytes of a file, which change as soon as they have been given. */
async function bytes(list: [number[], boolean][]): Promise<void> {
  const values = list.map(([shape, whole], i): Values => {
    const data = [...randomValues(numel(shape), i)]
    return whole
      ? { shape, dtype: 'int32', data: data.map((v) => Math.round(v * 1e9)) }
      : floats(shape, data)
  })
  const tensors = new Map(values.map((v, i) => [`t${i}`, draw.toTensor(v)]))
  const serialized = io.safetensors.serialize(tensors)
  for (const t of tensors.values()) t[Symbol.dispose]()
  const file = await serialized
  const parsed = io.safetensors.parse(file)
  file.fill(0)
  for (const [i, v] of values.entries()) {
    const found = parsed.tensors.get(`t${i}`)
    if (!(found instanceof Tensor)) throw new Error(`no t${i}`)
    same(await draw.fromTensor(found), v)
  }
}

export const arrayProperties: Property[] = [
  { name: 'typed arrays', share: 2, property: fc.asyncProperty(typed, typedArrays) },
  { name: 'nested arrays', property: fc.asyncProperty(nested, nestedArrays) },
  { name: 'packed sequences', property: fc.asyncProperty(packing, packedSequences) },
  { name: 'bytes of files', property: fc.asyncProperty(maps, bytes) },
]
