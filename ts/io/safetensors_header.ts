/** The header of a safetensors file: what tensors there are, of what kind, and where they lie. */
import { describe } from '../errors.js'
import { checkShape } from '../tensor.js'
import { DTYPES, type FileDType } from './dtypes.js'
import { type Json, parseMembers } from './json.js'

/** The format's own limit; a longer header is taken for damage. */
export const MAX_HEADER_BYTES = 100_000_000
/** More would keep the garbage collector busy; the largest models have a tenth of it. */
export const MAX_TENSORS = 65_536
export const METADATA = '__metadata__'
const OPENING = 0x7b

/** Where a tensor lies in a file. */
export interface Entry {
  name: string
  dtype: FileDType
  shape: number[]
  /** Offsets in the data after the header. */
  begin: number
  end: number
}

/** The bytes of a tensor. */
type Place = Pick<Entry, 'name' | 'begin' | 'end'>

/** A tensor of a type that is not known here. */
export interface Unsupported {
  name: string
  dtype: string
  begin: number
  end: number
}

export interface Header {
  entries: Entry[]
  /** What cannot be read; the others can. */
  unsupported: Unsupported[]
  metadata: Map<string, string>
}

/** @param head the first eight bytes @throws Error */
export function headerLength(head: Uint8Array, fileBytes: number): number {
  if (head.byteLength < 8)
    throw new Error(`no safetensors file: a file of ${fileBytes} bytes is too short`)
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true)
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw new Error(
      `no safetensors file: a header of ${length} bytes (at most ${MAX_HEADER_BYTES} are allowed)`,
    )
  }
  if (length > BigInt(fileBytes - 8)) {
    throw new Error(
      `no safetensors file, or cut short: a header of ${length} bytes in a file of ${fileBytes} bytes`,
    )
  }
  return Number(length)
}

/** @throws Error unless this is how a header begins */
export function checkOpening(bytes: Uint8Array): void {
  if (bytes[0] !== OPENING) throw new Error('no safetensors file: the header does not begin with {')
}

const tooMany = (): Error => new Error(`it has more than ${MAX_TENSORS} tensors`)

/** Before anything is made of them. Within a text it would stand as \"data_offsets\":. */
function* checkCount(text: string): Generator<void, void> {
  const key = '"data_offsets":'
  let found = 0
  for (let at = text.indexOf(key); at >= 0; at = text.indexOf(key, at + 1)) {
    if (++found > MAX_TENSORS) throw tooMany()
    yield
  }
}

/**
 * Each step reads one tensor's entry, or checks some.
 * @param dataBytes behind the header
 * @throws Error that says what is wrong
 */
export function* parseHeader(bytes: Uint8Array, dataBytes: number): Generator<void, Header> {
  checkOpening(bytes)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new Error('the header is not UTF-8')
  }
  yield* checkCount(text)
  const members: [name: string, value: Json][] = []
  for (const member of parseMembers(text)) {
    members.push(member)
    if (members.length > MAX_TENSORS) throw tooMany()
    yield
  }
  let metadata = new Map<string, string>()
  const entries: Entry[] = []
  const unsupported: Unsupported[] = []
  for (const [name, value] of members) {
    if (name === METADATA) metadata = parseMetadata(value)
    else {
      const entry = parseEntry(name, value, dataBytes)
      if ('shape' in entry) entries.push(entry)
      else unsupported.push(entry)
    }
    yield
  }
  yield* checkCover([...entries, ...unsupported], dataBytes)
  const [first] = unsupported
  if (first !== undefined && entries.length === 0) throw unsupportedError(first)
  return { entries, unsupported, metadata }
}

function parseMetadata(value: unknown): Map<string, string> {
  if (value === undefined) return new Map()
  if (!(value instanceof Map) || [...value.values()].some((text) => typeof text !== 'string')) {
    throw new Error(`${METADATA} is not an object of texts`)
  }
  return value as Map<string, string>
}

/** What is wrong with a tensor of a type that is not known. */
export function unsupportedError({ name, dtype }: Unsupported): Error {
  return new Error(
    `'${name}' has the dtype ${describe(dtype)}; known are ${Object.keys(DTYPES).join(', ')}`,
  )
}

function parseEntry(name: string, value: unknown, dataBytes: number): Entry | Unsupported {
  if (!(value instanceof Map)) throw new Error(`'${name}' is not an object`)
  for (const key of value.keys()) {
    if (!['dtype', 'shape', 'data_offsets'].includes(key as string)) {
      throw new Error(`'${name}' has an unknown key '${key}'`)
    }
  }
  const dtype = value.get('dtype')
  if (typeof dtype !== 'string')
    throw unsupportedError({ name, dtype: dtype as never, begin: 0, end: 0 })
  const shape = value.get('shape')
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    throw new Error(`'${name}' has no shape of whole numbers`)
  }
  const offsets = value.get('data_offsets')
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    throw new Error(`'${name}' has no data_offsets of two whole numbers`)
  }
  const [begin, end] = offsets as [number, number]
  if (begin > end || end > dataBytes) {
    throw new Error(`'${name}' lies at bytes ${begin} to ${end} of ${dataBytes} bytes of data`)
  }
  if (!Object.hasOwn(DTYPES, dtype)) return { name, dtype, begin, end }
  const bytes =
    shape.reduce((product, size) => product * size, 1) * DTYPES[dtype as FileDType].bytes
  if (bytes !== end - begin) {
    throw new Error(
      `'${name}' of shape [${shape.join(', ')}] and dtype ${dtype} needs ${bytes} bytes, and has ${end - begin}`,
    )
  }
  checkShape(`'${name}'`, shape)
  return { name, dtype: dtype as FileDType, shape, begin, end }
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Every byte of the data belongs to exactly one tensor. */
function* checkCover(entries: readonly Place[], dataBytes: number): Generator<void, void> {
  /** Where each tensor that has bytes begins. */
  const from = new Map<number, Place>()
  const ends = new Set([0])
  for (const entry of entries) {
    const { begin, end } = entry
    if (end > begin) {
      if (from.has(begin)) throw uncovered(entries, dataBytes)
      from.set(begin, entry)
      ends.add(end)
    }
    yield
  }
  let at = 0
  let found = 0
  for (let next = from.get(0); next !== undefined; next = from.get(at)) {
    at = next.end
    found++
    yield
  }
  if (at !== dataBytes || found !== from.size) throw uncovered(entries, dataBytes)
  for (const { begin, end } of entries) {
    if (begin === end && !ends.has(begin)) throw uncovered(entries, dataBytes)
    yield
  }
}

/** What is wrong with tensors that do not lie side by side. */
function uncovered(entries: readonly Place[], dataBytes: number): Error {
  const order = (a: Place, b: Place): number => a.begin - b.begin || a.end - b.end
  let at = 0
  for (const { name, begin, end } of [...entries].sort(order)) {
    if (begin < at) return new Error(`'${name}' overlaps another tensor at byte ${begin}`)
    if (begin > at) break
    at = end
  }
  const next = Math.min(dataBytes, ...nearest(entries, at))
  return new Error(`bytes ${at} to ${next} of the data belong to no tensor`)
}

/** Where the first tensor behind a byte begins. */
function nearest(entries: readonly Place[], at: number): number[] {
  let least = Infinity
  for (const { begin } of entries) if (begin > at && begin < least) least = begin
  return least === Infinity ? [] : [least]
}
