/**
 * The safetensors format: eight bytes with the header's length, a JSON header with dtype, shape and
 * offsets of every tensor, then the raw values. Files of PyTorch's `safetensors.torch.save_file`
 * load here, and the other way round.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { binding } from '../binding.js'
import { withoutJSON } from '../copies.js'
import { checkDevice, type Device, deviceNumber } from '../device.js'
import { checkOptions, describe, typeError } from '../errors.js'
import { checkShape, Tensor } from '../tensor.js'
import { DTYPES, type FileDType } from './dtypes.js'
import { parseJson } from './json.js'
import { checkPath } from './path.js'
import { bytesOf, reason, writeWhole } from './whole_file.js'

/** The format's own limit; a longer header is taken for damage. */
const MAX_HEADER_BYTES = 100_000_000
const METADATA = '__metadata__'

/** Where a tensor lies in a file. */
interface Entry {
  name: string
  dtype: FileDType
  shape: number[]
  /** Offsets in the data after the header. */
  begin: number
  end: number
}

interface Header {
  entries: Entry[]
  metadata: Map<string, string>
}

/** What load and parse take. */
export interface LoadOptions {
  /** Where the tensors go. Default: 'cpu'. */
  device?: string | Device
}

/** What save and serialize take. */
export interface SaveOptions {
  /** Texts to keep beside the tensors, under the format's `__metadata__`. */
  metadata?: ReadonlyMap<string, string> | Record<string, string>
}

/** What {@link parse} and {@link loadWithMetadata} give. */
export interface Contents {
  tensors: Map<string, Tensor>
  metadata: Map<string, string>
}

/**
 * Reads all tensors of a file. F32 and I32 as they are; F16, BF16 and F64 as float32, I8, U8, I16,
 * U16 and BOOL as int32, I64, U32 and U64 as int32 when every value fits.
 * @throws (rejects) Error that names the file and what is wrong: missing, damaged, cut short,
 *   another dtype. Sizes are checked against the file before anything is allocated.
 */
export async function load(
  path: string | URL,
  options: LoadOptions = {},
): Promise<Map<string, Tensor>> {
  return withoutJSON((await loadWithMetadata(path, options)).tensors)
}

/** As {@link load}, with the texts that stand beside the tensors. */
export async function loadWithMetadata(
  path: string | URL,
  options: LoadOptions = {},
): Promise<Contents> {
  const device = checkLoadOptions('safetensors.load', options)
  const name = checkPath('safetensors.load', 'path', path, 'the path of a file')
  const file = await openToRead('load', name)
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw new Error('not a regular file')
    const head = await read(file, 0, Math.min(8, stat.size))
    const headerBytes = headerLength(head, stat.size)
    const header = parseHeader(await read(file, 8, headerBytes), stat.size - 8 - headerBytes)
    const tensors = new Map<string, Tensor>()
    for (const entry of header.entries) {
      const bytes = await read(file, 8 + headerBytes + entry.begin, entry.end - entry.begin)
      tensors.set(entry.name, decode(entry, bytes, device))
    }
    return { tensors, metadata: header.metadata }
  } catch (error) {
    throw new Error(`[safetensors.load] ${name}: ${reason(error)}`, { cause: error })
  } finally {
    await file.close()
  }
}

/**
 * The tensors in the bytes of a file; as {@link load} without the file.
 * @throws Error that says what is wrong
 */
export function parse(bytes: Uint8Array, options: LoadOptions = {}): Contents {
  const device = checkLoadOptions('safetensors.parse', options)
  if (!(bytes instanceof Uint8Array))
    throw typeError('safetensors.parse', 'bytes', 'a Uint8Array', bytes)
  try {
    const headerBytes = headerLength(bytes.subarray(0, 8), bytes.byteLength)
    const data = bytes.subarray(8 + headerBytes)
    const header = parseHeader(bytes.subarray(8, 8 + headerBytes), data.byteLength)
    const tensors = new Map<string, Tensor>()
    for (const entry of header.entries) {
      tensors.set(entry.name, decode(entry, data.subarray(entry.begin, entry.end), device))
    }
    return { tensors, metadata: header.metadata }
  } catch (error) {
    throw new Error(`[safetensors.parse] ${reason(error)}`, { cause: error })
  }
}

/**
 * Writes tensors to a file, which appears under its name only when it is complete.
 * @throws (rejects) TypeError for anything but tensors under names; Error that names the file when
 *   it cannot be written
 */
export async function save(
  path: string | URL,
  tensors: ReadonlyMap<string, Tensor>,
  options: SaveOptions = {},
): Promise<void> {
  const file = checkPath('safetensors.save', 'path', path, 'the path of a file')
  const layout = plan('safetensors.save', tensors, options)
  // The values as they are now, whatever the caller does with the tensors while the file is written.
  const values = layout.order.map((tensor) => tensor.data())
  try {
    const arrays = await Promise.all(values)
    await writeWhole(file, [layout.header, ...arrays.map(bytesOf)])
  } catch (error) {
    throw new Error(`[safetensors.save] ${file}: ${reason(error)}`, { cause: error })
  }
}

/** The bytes that {@link save} writes. */
export async function serialize(
  tensors: ReadonlyMap<string, Tensor>,
  options: SaveOptions = {},
): Promise<Uint8Array> {
  const layout = plan('safetensors.serialize', tensors, options)
  const arrays = await Promise.all(layout.order.map((tensor) => tensor.data()))
  return Buffer.concat([layout.header, ...arrays.map(bytesOf)])
}

// ---- Reading ---------------------------------------------------------------------------------------

/** @returns the device's name */
function checkLoadOptions(fn: string, options: LoadOptions): string {
  checkOptions(fn, options, ['device'])
  return checkDevice(fn, 'device', options.device ?? 'cpu').toString()
}

async function openToRead(fn: string, path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (error) {
    throw new Error(`[safetensors.${fn}] ${path}: ${reason(error)}`, { cause: error })
  }
}

/** Exactly `length` bytes from `position`. */
async function read(file: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  let done = 0
  while (done < length) {
    // One call reads no more than 2 GiB.
    const { bytesRead } = await file.read(
      bytes,
      done,
      Math.min(length - done, 2 ** 30),
      position + done,
    )
    if (bytesRead === 0) throw new Error('the file became shorter while it was read')
    done += bytesRead
  }
  return bytes
}

function headerLength(head: Uint8Array, fileBytes: number): number {
  if (head.byteLength < 8) throw new Error(`a file of ${fileBytes} bytes is too short`)
  const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true)
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw new Error(`a header of ${length} bytes (at most ${MAX_HEADER_BYTES} are allowed)`)
  }
  if (length > BigInt(fileBytes - 8)) {
    throw new Error(`a header of ${length} bytes in a file of ${fileBytes} bytes`)
  }
  return Number(length)
}

function parseHeader(bytes: Uint8Array, dataBytes: number): Header {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw new Error('the header is not UTF-8')
  }
  if (!text.startsWith('{')) throw new Error('the header does not begin with {')
  const header = parseJson(text)
  if (!(header instanceof Map)) throw new Error('the header is not a JSON object')
  const metadata = parseMetadata(header.get(METADATA))
  header.delete(METADATA)
  const entries = [...header].map(([name, value]) => parseEntry(name, value, dataBytes))
  checkCover(entries, dataBytes)
  return { entries, metadata }
}

function parseMetadata(value: unknown): Map<string, string> {
  if (value === undefined) return new Map()
  if (!(value instanceof Map) || [...value.values()].some((text) => typeof text !== 'string')) {
    throw new Error(`${METADATA} is not an object of texts`)
  }
  return value as Map<string, string>
}

function parseEntry(name: string, value: unknown, dataBytes: number): Entry {
  if (!(value instanceof Map)) throw new Error(`'${name}' is not an object`)
  for (const key of value.keys()) {
    if (!['dtype', 'shape', 'data_offsets'].includes(key as string)) {
      throw new Error(`'${name}' has an unknown key '${key}'`)
    }
  }
  const dtype = value.get('dtype')
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPES, dtype)) {
    throw new Error(
      `'${name}' has the dtype ${describe(dtype)}; known are ${Object.keys(DTYPES).join(', ')}`,
    )
  }
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
function checkCover(entries: readonly Entry[], dataBytes: number): void {
  let at = 0
  for (const { name, begin, end } of [...entries].sort(
    (a, b) => a.begin - b.begin || a.end - b.end,
  )) {
    if (begin < at) throw new Error(`'${name}' overlaps another tensor at byte ${begin}`)
    if (begin > at) throw new Error(`bytes ${at} to ${begin} of the data belong to no tensor`)
    at = end
  }
  if (at !== dataBytes)
    throw new Error(`bytes ${at} to ${dataBytes} of the data belong to no tensor`)
}

function decode(entry: Entry, bytes: Uint8Array, device: string): Tensor {
  const values = DTYPES[entry.dtype].decode(bytes, entry.name)
  const dtype = values instanceof Int32Array ? 'int32' : 'float32'
  const buffer = binding.upload(values, deviceNumber(device), values.length)
  return Tensor.wrap(buffer, entry.shape, device, dtype)
}

// ---- Writing ---------------------------------------------------------------------------------------

/** The header, and the tensors in the order of their data. */
function plan(
  fn: string,
  tensors: ReadonlyMap<string, Tensor>,
  options: SaveOptions,
): { header: Uint8Array; order: Tensor[] } {
  if (!(tensors instanceof Map)) throw typeError(fn, 'tensors', 'a Map of tensors', tensors)
  checkOptions(fn, options, ['metadata'])
  const members: string[] = []
  const metadata = checkMetadata(fn, options.metadata)
  if (metadata.length > 0) {
    members.push(`${JSON.stringify(METADATA)}:${JSON.stringify(Object.fromEntries(metadata))}`)
  }
  let at = 0
  for (const [name, tensor] of tensors) {
    if (typeof name !== 'string') throw typeError(fn, 'tensors', 'names as keys', name)
    if (name === METADATA) {
      throw new TypeError(`[${fn}] tensors: '${METADATA}' is the format's own name`)
    }
    if (!(tensor instanceof Tensor)) throw typeError(fn, `'${name}'`, 'a tensor', tensor)
    tensor.buffer // disposed: an error before anything is written
    const dtype = tensor.dtype === 'int32' ? 'I32' : 'F32'
    const end = at + tensor.numel * 4
    members.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${tensor.shape.join(',')}],"data_offsets":[${at},${end}]}`,
    )
    at = end
  }
  // Spaces up to a multiple of eight: the data begins aligned.
  const text = Buffer.from(`{${members.join(',')}}`)
  const length = Math.ceil(text.byteLength / 8) * 8
  if (length > MAX_HEADER_BYTES) {
    throw new RangeError(`[${fn}] tensors: a header of ${length} bytes is too long for the format`)
  }
  const header = Buffer.alloc(8 + length, ' ')
  header.writeBigUInt64LE(BigInt(length), 0)
  text.copy(header, 8)
  return { header, order: [...tensors.values()] }
}

function checkMetadata(fn: string, metadata: SaveOptions['metadata']): [string, string][] {
  if (metadata === undefined) return []
  if (typeof metadata !== 'object' || metadata === null) {
    throw typeError(fn, 'metadata', 'an object of texts', metadata)
  }
  const entries = metadata instanceof Map ? [...metadata] : Object.entries(metadata)
  for (const [key, text] of entries) {
    if (typeof text !== 'string') throw typeError(fn, `metadata['${key}']`, 'a text', text)
  }
  return entries
}
