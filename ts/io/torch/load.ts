/** Reading what torch.save has written. */
import { binding, type Buffer as NativeBuffer } from '../../binding.js'
import { withoutJSON } from '../../copies.js'
import { checkDevice, type Device } from '../../device.js'
import { DTypeCode, widthOf } from '../../dtype.js'
import { checkOptions, checkSignal } from '../../errors.js'
import { numelOf } from '../../shape.js'
import { Tensor } from '../../tensor.js'
import { DTYPES } from '../dtypes.js'
import { fileKind, HEAD_BYTES } from '../file_kind.js'
import { openRegular, PIECE, readAt } from '../open_file.js'
import { checkPath } from '../path.js'
import { inPieces, Turns } from '../pieces.js'
import { reason } from '../whole_file.js'
import { type ZipEntry, ZipFile } from '../zip.js'
import { leafOf, PickledTensor } from './pickled_tensor.js'
import { unpickle } from './unpickle.js'

const FN = 'torch.load'
/** A state dict takes about 150 bytes of it for each tensor. */
const MAX_PICKLE_BYTES = 2 ** 26
/** Tensors that repeat elements (expand) may be larger than the file, but not without end. */
const MAX_EXPANSION = 16
const MAX_EXPANDED_BYTES = 2 ** 28
const MAX_TENSORS = 65_536

/** What {@link load} takes. */
export interface TorchLoadOptions {
  /** Where the tensors go, whatever device they were on. Default: 'cpu'. */
  device?: string | Device
  /** Ends reading: the promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/**
 * Reads what `torch.save` wrote, as `torch.load(path, weights_only=True)`. A state dict comes as
 * `Map<string, Tensor>`, a checkpoint as plain values in each other: dicts as Maps, lists, tuples and
 * sizes as arrays, sets as Sets, None as null, whole numbers that a number cannot hold as bigint,
 * bytes as Uint8Array, types and devices as their names ('float32', 'cuda:0'). {@link stateDict} finds the
 * weights in it.
 *
 * Elements become what `io.safetensors.load` makes of them: float32 and int32 and bool as they are,
 * float16, bfloat16 and float64 as float32, other whole numbers as int32 when every value fits.
 * Tensors of the same elements share their memory; other views are copies. Parameters require a
 * gradient, as in Python.
 * @throws (rejects) Error that names the file and what is wrong: missing, damaged, cut short, of the
 *   format before PyTorch 1.6, a TorchScript archive, big-endian, compressed, more than there is memory for;
 *   or that names the class or function in it that is not read. Nothing in a file is ever called
 */
export async function load<T = Map<string, Tensor>>(
  path: string | URL,
  options: TorchLoadOptions = {},
): Promise<T> {
  checkOptions(FN, options, ['device', 'signal'])
  const device = checkDevice(FN, 'device', options.device ?? 'cpu').toString()
  const signal = checkSignal(FN, options.signal)
  const name = checkPath(FN, 'path', path, 'the path of a file')
  try {
    await checkKind(name)
    const zip = await ZipFile.open(name, signal)
    try {
      return (await read(zip, device, signal)) as T
    } finally {
      await zip.close()
    }
  } catch (error) {
    signal?.throwIfAborted()
    const text = reason(error).replaceAll("'FILE'", `'${name}'`)
    throw new Error(`[${FN}] ${name}: ${text}`, { cause: error })
  }
}

/** @throws (rejects) Error that names what is no archive */
async function checkKind(path: string): Promise<void> {
  const { file, info } = await openRegular(path)
  const head = await readAt(file, 0, Math.min(HEAD_BYTES, info.size)).finally(() => file.close())
  if (head[0] === 0x50 && head[1] === 0x4b) return
  const kind = fileKind(head, path)
  if (kind !== null) throw new Error(kind)
  if (head[8] === 0x7b)
    throw new Error(`it looks like a safetensors file; read it with io.safetensors.load('${path}')`)
  throw new Error('it is no file of torch.save, which is an archive (zip), or it is damaged')
}

async function read(zip: ZipFile, device: string, signal?: AbortSignal): Promise<unknown> {
  const { pickle, folder } = findPickle(zip)
  await checkByteOrder(zip, folder)
  const bytes = await zip.read(pickle, MAX_PICKLE_BYTES)
  const value = await inPieces(unpickle(bytes), signal)
  const archive = new Archive(zip, folder, signal)
  return archive.filled(value, device)
}

/** The pickle, and the folder that it lies in. */
function findPickle(zip: ZipFile): { pickle: ZipEntry; folder: string } {
  const names = [...zip.entries.keys()]
  const script = names.find((name) => /^[^/]+\/(constants\.pkl$|code\/)/.test(name))
  if (script !== undefined)
    throw new Error(
      "it is a TorchScript archive (torch.jit.save), which has code; in Python: torch.save(torch.jit.load('FILE').state_dict(), 'weights.pt')",
    )
  const found = names.filter((name) => /^[^/]+\/data\.pkl$/.test(name))
  const [name] = found
  const pickle = zip.entries.get(name ?? '')
  if (pickle === undefined || found.length !== 1)
    throw new Error('it is an archive (zip), but not one of torch.save, which has a data.pkl')
  if (!pickle.stored) throw compressed(pickle.name)
  return { pickle, folder: (name as string).slice(0, -'data.pkl'.length) }
}

const compressed = (name: string): Error =>
  new Error(
    `'${name}' in it is compressed, which torch.save does not do: unpack it and write it again with torch.save, or with zip -0`,
  )

async function checkByteOrder(zip: ZipFile, folder: string): Promise<void> {
  const entry = zip.entries.get(`${folder}byteorder`)
  if (entry === undefined) return // before PyTorch 2.1
  const order = Buffer.from(await zip.read(entry, 64)).toString('latin1')
  if (order !== 'little')
    throw new Error(
      order === 'big'
        ? "it was written on a big-endian machine; in Python, on another: torch.save(torch.load('FILE', weights_only=True), 'little.pt')"
        : 'it is damaged: its order of bytes is neither little nor big',
    )
}

/** A place in the value where a tensor is to stand. */
interface Slot {
  name: string
  tensor: PickledTensor
  put: Put
}

type Put = (value: unknown) => void

const joined = (around: string, key: unknown): string =>
  around === '' ? String(key) : `${around}.${String(key)}`

class Archive {
  readonly #zip: ZipFile
  readonly #folder: string
  readonly #turns: Turns
  readonly #signal: AbortSignal | undefined
  readonly #checked = new Set<ZipEntry>()

  constructor(zip: ZipFile, folder: string, signal: AbortSignal | undefined) {
    this.#zip = zip
    this.#folder = folder
    this.#signal = signal
    this.#turns = new Turns(signal)
  }

  /** The value with its tensors in their places. */
  async filled(value: unknown, device: string): Promise<unknown> {
    const root = { value }
    const slots = await inPieces(slotsOf(root), this.#signal)
    this.#checkRoom(slots)
    const made = new Map<string, Tensor>()
    const tensors = new Map<PickledTensor, Tensor>()
    try {
      for (const { name, tensor: pickled, put } of slots) {
        let tensor = tensors.get(pickled)
        if (tensor === undefined) {
          tensor = await this.#tensor(name, pickled, device, made)
          tensors.set(pickled, tensor)
        }
        put(tensor)
      }
      await this.#zip.checkUnchanged()
      return root.value
    } catch (error) {
      for (const tensor of tensors.values()) tensor[Symbol.dispose]()
      throw error
    }
  }

  /** All sizes, before anything is read. */
  #checkRoom(slots: readonly Slot[]): void {
    const seen = new Set<string>()
    let bytes = 0
    for (const { name, tensor } of slots) {
      this.#entry(name, tensor)
      const id = identity(tensor)
      if (seen.has(id)) continue
      seen.add(id)
      bytes += numelOf(tensor.shape) * widthOf(DTYPES[tensor.dtype].becomes)
    }
    const most = Math.max(MAX_EXPANDED_BYTES, MAX_EXPANSION * this.#zip.bytes)
    if (bytes > most)
      throw new Error(
        `its tensors would take ${bytes} bytes, but the file has ${this.#zip.bytes}: tensors that repeat their elements (expand) or overlap have to be saved otherwise`,
      )
    binding.checkRoom(bytes)
  }

  /** The file of a storage. @throws Error unless it is there and long enough */
  #entry(name: string, { storage }: PickledTensor): ZipEntry {
    const { key, dtype, numel } = storage
    const entry = this.#zip.entries.get(`${this.#folder}data/${key}`)
    const needed = numel * DTYPES[dtype].bytes
    if (entry === undefined)
      throw new Error(`it is damaged: the values of '${name}' (data/${key}) are not there`)
    if (!entry.stored) throw compressed(entry.name)
    if (!(needed <= entry.bytes))
      throw new Error(
        `it is damaged: the values of '${name}' (data/${key}) need ${needed} bytes and have ${entry.bytes}`,
      )
    return entry
  }

  async #tensor(
    name: string,
    pickled: PickledTensor,
    device: string,
    made: Map<string, Tensor>,
  ): Promise<Tensor> {
    const id = identity(pickled)
    const { becomes } = DTYPES[pickled.dtype]
    let whole = made.get(id)
    if (whole === undefined) {
      const buffer = binding.allocate(numelOf(pickled.shape), DTypeCode[becomes])
      try {
        await this.#fill(name, pickled, buffer)
      } catch (error) {
        binding.release(buffer)
        throw error
      }
      const here = Tensor.wrap(buffer, pickled.shape, 'cpu', becomes)
      whole = device === 'cpu' ? here : here.to(device)
      if (whole !== here) here[Symbol.dispose]()
      made.set(id, whole)
    } else whole = Tensor.over(whole.share(), pickled.shape, whole.device, becomes)
    if (pickled.requiresGrad && becomes === 'float32') whole.requiresGrad = true
    return whole
  }

  async #fill(name: string, pickled: PickledTensor, buffer: NativeBuffer): Promise<void> {
    const entry = this.#entry(name, pickled)
    if (!this.#checked.has(entry)) {
      await this.#zip.check(entry)
      this.#checked.add(entry)
    }
    const { bytes: width, decode } = DTYPES[pickled.dtype]
    const start = await this.#zip.start(entry)
    const numel = numelOf(pickled.shape)
    const step = PIECE / width
    const copy = isContiguous(pickled) ? null : await this.#span(pickled, start, width)
    for (let first = 0; first < numel; first += step) {
      const count = Math.min(step, numel - first)
      const bytes =
        copy === null
          ? await this.#zip.readAt(start + (pickled.offset + first) * width, count * width)
          : copy(first, count)
      binding.fillPart(buffer, first, decode(bytes, name, first))
      const due = this.#turns.due()
      if (due !== null) await due
    }
  }

  /** Takes elements of a view by its strides, from the part of the storage that it lies in. */
  async #span(
    { offset, shape, strides }: PickledTensor,
    start: number,
    width: number,
  ): Promise<(first: number, count: number) => Uint8Array> {
    const last = shape.reduce((sum, size, d) => sum + (size - 1) * (strides[d] as number), 0)
    const length = (last + 1) * width
    binding.checkRoom(length)
    const span = Buffer.allocUnsafeSlow(length)
    for (let at = 0; at < length; at += PIECE)
      span.set(
        await this.#zip.readAt(start + offset * width + at, Math.min(PIECE, length - at)),
        at,
      )
    return (first, count) => {
      const out = Buffer.allocUnsafeSlow(count * width)
      for (let i = 0; i < count; i++) {
        let [rest, at] = [first + i, 0]
        for (let d = shape.length - 1; d >= 0; d--) {
          const size = shape[d] as number
          at += (rest % size) * (strides[d] as number)
          rest = Math.floor(rest / size)
        }
        span.copy(out, i * width, at * width, (at + 1) * width)
      }
      return out
    }
  }
}

/** The same for tensors of the same elements of the same storage. */
function identity({ storage, dtype, offset, shape, strides }: PickledTensor): string {
  const plain = isContiguous({ shape, strides })
  const place = plain ? numelOf(shape) : `${shape} ${strides}`
  return `${dtype} ${offset} ${place} ${storage.key}`
}

function isContiguous({ shape, strides }: Pick<PickledTensor, 'shape' | 'strides'>): boolean {
  if (shape.includes(0)) return true
  let expected = 1
  for (let d = shape.length - 1; d >= 0; d--) {
    if (shape[d] !== 1 && strides[d] !== expected) return false
    expected *= shape[d] as number
  }
  return true
}

/** Where tensors stand in a value, each once; without recursion, however deep it is. */
function* slotsOf(root: { value: unknown }): Generator<void, Slot[]> {
  const slots: Slot[] = []
  const seen = new Set<object>()
  const inside: [name: string, container: object][] = []
  const visit = (around: string, key: unknown, given: object, put: Put): void => {
    const name = around.length > 200 ? `${around.slice(0, 200)}…` : joined(around, key)
    const value = leafOf(given)
    if (value instanceof PickledTensor) {
      slots.push({ name: name || 'tensor', tensor: value, put })
      if (slots.length > MAX_TENSORS) throw new Error(`it has more than ${MAX_TENSORS} tensors`)
    } else if (value !== given) put(value)
    else if (!seen.has(given)) {
      seen.add(given)
      inside.push([name, given])
    }
  }
  const place = (around: string, key: unknown, value: unknown, put: Put): void => {
    if (value !== null && typeof value === 'object') visit(around, key, value, put)
  }
  place('', '', root.value, (value) => {
    root.value = value
  })
  for (let next = inside.pop(); next !== undefined; next = inside.pop()) {
    const [name, value] = next
    if (Array.isArray(value))
      for (const [i, item] of value.entries())
        place(name, i, item, (tensor) => {
          value[i] = tensor
        })
    else if (value instanceof Map) {
      for (const [key, item] of value)
        place(name, key, item, (tensor) => {
          value.set(key, tensor)
        })
      withoutJSON(value)
    }
    yield
  }
  return slots
}
