/**
 * The safetensors format: eight bytes with the header's length, a JSON header with dtype, shape and
 * offsets of every tensor, then the raw values. Files of PyTorch's `safetensors.torch.save_file`
 * load here, and the other way round.
 */
import { types } from 'node:util'
import { binding } from '../binding.js'
import { withoutJSON } from '../copies.js'
import { checkDevice, deviceNumber } from '../device.js'
import { dtypeOf, widthOf } from '../dtype.js'
import { checkOptions, rangeError, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { DTYPES, FILE_DTYPES } from './dtypes.js'
import { fileKind } from './file_kind.js'
import { checkPath } from './path.js'
import { atOnce } from './pieces.js'
import { type Contents, type LoadOptions, leftOut, read } from './read_safetensors.js'
import {
  type Entry,
  headerLength,
  MAX_HEADER_BYTES,
  MAX_TENSORS,
  METADATA,
  parseHeader,
} from './safetensors_header.js'
import { bytesOf, reason, writeWhole } from './whole_file.js'

export { type SafeOpen, type SafeOpenOptions, safeOpen } from './safe_open.js'
export type { Contents, LoadOptions }

/** What save and serialize take. */
export interface SaveOptions {
  /** Texts to keep beside the tensors, under the format's `__metadata__`. */
  metadata?: ReadonlyMap<string, string> | Record<string, string>
}

/**
 * Reads all tensors of a file. F32, I32 and BOOL as they are; F16, BF16 and F64 as float32, I8, U8,
 * I16 and U16 as int32, I64, U32 and U64 as int32 when every value fits. A tensor of another type
 * (F8_E4M3, C64) is left out with a warning, unless `keys` names it.
 * @throws (rejects) Error that names the file and what is wrong: missing, no regular file, damaged,
 *   cut short, of another format, only of other types, more than there is memory for.
 *   Sizes are checked before anything is read; the event loop stays free.
 */
export async function load(
  path: string | URL,
  options: LoadOptions = {},
): Promise<Map<string, Tensor>> {
  return (await loadWithMetadata(path, options)).tensors
}

/** As {@link load}, with the texts that stand beside the tensors. */
export async function loadWithMetadata(
  path: string | URL,
  options: LoadOptions = {},
): Promise<Contents> {
  return read('safetensors.load', path, options)
}

/**
 * The tensors in the bytes of a file; as {@link load} without the file.
 * @throws Error that says what is wrong
 */
export function parse(bytes: Uint8Array, options: Pick<LoadOptions, 'device'> = {}): Contents {
  checkOptions('safetensors.parse', options, ['device'])
  const device = checkDevice('safetensors.parse', 'device', options.device ?? 'cpu').toString()
  if (!types.isUint8Array(bytes))
    throw typeError('safetensors.parse', 'bytes', 'a Uint8Array', bytes)
  try {
    const headerBytes = headerLength(bytes.subarray(0, 8), bytes.byteLength)
    const data = bytes.subarray(8 + headerBytes)
    const header = atOnce(parseHeader(bytes.subarray(8, 8 + headerBytes), data.byteLength))
    const tensors = new Map<string, Tensor>()
    for (const entry of header.entries) {
      tensors.set(entry.name, decode(entry, data.subarray(entry.begin, entry.end), device))
    }
    const unsupported = leftOut('safetensors.parse', 'bytes', header.unsupported, undefined)
    return { tensors: withoutJSON(tensors), metadata: header.metadata, unsupported }
  } catch (error) {
    const kind = fileKind(bytes, 'FILE')
    if (kind !== null) throw new Error(`[safetensors.parse] ${kind}`, { cause: error })
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

// ---- Bytes -----------------------------------------------------------------------------------------

function decode(entry: Entry, bytes: Uint8Array, device: string): Tensor {
  const values = DTYPES[entry.dtype].decode(bytes, entry.name)
  const buffer = binding.upload(values, deviceNumber(device), values.length)
  return Tensor.wrap(buffer, entry.shape, device, dtypeOf(values))
}

// ---- Writing ---------------------------------------------------------------------------------------

/** The header, and the tensors in the order of their data. */
function plan(
  fn: string,
  tensors: ReadonlyMap<string, Tensor>,
  options: SaveOptions,
): { header: Uint8Array; order: Tensor[] } {
  if (!types.isMap(tensors)) throw typeError(fn, 'tensors', 'a Map of tensors', tensors)
  checkOptions(fn, options, ['metadata'])
  if (tensors.size > MAX_TENSORS)
    throw rangeError(fn, 'tensors', `at most ${MAX_TENSORS} tensors`, String(tensors.size))
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
    const end = at + tensor.numel * widthOf(tensor.dtype)
    members.push(
      `${JSON.stringify(name)}:{"dtype":"${FILE_DTYPES[tensor.dtype]}","shape":[${tensor.shape.join(',')}],"data_offsets":[${at},${end}]}`,
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
  const entries = types.isMap(metadata) ? [...metadata] : Object.entries(metadata)
  for (const [key, text] of entries) {
    if (typeof text !== 'string') throw typeError(fn, `metadata['${key}']`, 'a text', text)
  }
  return entries
}
