/** Pickles of plain values and tensors, as torch.load(weights_only=True) takes them (protocol 2). */
import { isPlainObject } from '../../copies.js'
import type { DType } from '../../dtype.js'
import { typeError } from '../../errors.js'
import { Tensor } from '../../tensor.js'

const STORAGE: Record<DType, string> = {
  float32: 'FloatStorage',
  int32: 'IntStorage',
  bool: 'BoolStorage',
}
const EXPECTED =
  'a tensor, number, bigint, text, boolean or null, or an array, Map or plain object of these'
/** Of a bigint: what the instruction that weights_only=True knows can say. */
const MAX_BITS = 8 * 255

/** Of containers in each other. */
const MAX_DEPTH = 256

/** A pickle, and the tensors whose values have to lie beside it as data/0, data/1 … */
export interface Pickled {
  bytes: Uint8Array
  tensors: readonly Tensor[]
}

/**
 * @param fn for messages
 * @throws TypeError that names the place of what the format cannot hold
 */
export function pickled(fn: string, value: unknown): Pickled {
  const pickler = new Pickler(fn)
  pickler.add(value, '', [])
  return pickler.end()
}

class Pickler {
  readonly #fn: string
  readonly #out: Uint8Array[] = [Buffer.of(0x80, 2)]
  readonly #tensors: Tensor[] = []
  /** Tensors that share their memory are written once, by their buffers. */
  readonly #keys = new Map<unknown, number>()

  constructor(fn: string) {
    this.#fn = fn
  }

  end(): Pickled {
    this.#code('.')
    return { bytes: Buffer.concat(this.#out), tensors: this.#tensors }
  }

  #code(code: string): void {
    this.#out.push(Buffer.from(code, 'latin1'))
  }

  add(value: unknown, path: string, around: readonly object[]): void {
    if (value === null) this.#code('N')
    else if (typeof value === 'boolean') this.#code(value ? '\x88' : '\x89')
    else if (typeof value === 'number') this.#number(value)
    else if (typeof value === 'bigint') this.#integer(value, path)
    else if (typeof value === 'string') this.#text(value)
    else if (value instanceof Tensor) this.#tensor(value)
    else if (typeof value !== 'object') throw this.#refused(path, value)
    else this.#container(value, path, around)
  }

  #refused(path: string, value: unknown): TypeError {
    return typeError(this.#fn, path === '' ? 'value' : `'${path}'`, EXPECTED, value)
  }

  #container(value: object, path: string, around: readonly object[]): void {
    if (around.includes(value))
      throw typeError(this.#fn, path === '' ? 'value' : `'${path}'`, 'data without circles', value)
    if (around.length >= MAX_DEPTH)
      throw new RangeError(
        `[${this.#fn}] value: expected at most ${MAX_DEPTH} containers in each other`,
      )
    const deeper = [...around, value]
    const inner = (item: unknown, key: unknown): void =>
      this.add(item, path === '' ? String(key) : `${path}.${String(key)}`, deeper)
    if (Array.isArray(value)) {
      this.#code('](')
      for (const [i, item] of value.entries()) inner(item, i)
      this.#code('e')
      return
    }
    const isMap = value instanceof Map
    if (!isMap && !isPlainObject(value)) throw this.#refused(path, value)
    const entries: Iterable<[unknown, unknown]> = isMap
      ? value
      : Object.entries(value).filter(([, item]) => item !== undefined)
    this.#code('}(')
    for (const [key, item] of entries) {
      if (key !== null && !['string', 'number', 'boolean'].includes(typeof key))
        throw typeError(
          this.#fn,
          path === '' ? 'a key' : `a key in '${path}'`,
          'a text, number, boolean or null',
          key,
        )
      this.add(key, path, deeper)
      inner(item, key)
    }
    this.#code('u')
  }

  #number(value: number): void {
    if (Number.isInteger(value) && Math.abs(value) < 2 ** 31 && !Object.is(value, -0)) {
      const bytes = Buffer.alloc(5, 'J')
      bytes.writeInt32LE(value, 1)
      this.#out.push(bytes)
    } else if (Number.isSafeInteger(value) && !Object.is(value, -0))
      this.#integer(BigInt(value), '')
    else {
      const bytes = Buffer.alloc(9, 'G')
      bytes.writeDoubleBE(value, 1)
      this.#out.push(bytes)
    }
  }

  /** In two's complement, with room for the sign. */
  #integer(value: bigint, path: string): void {
    let length = 1
    while (BigInt.asIntN(8 * length, value) !== value) {
      if (8 * ++length > MAX_BITS)
        throw typeError(this.#fn, path || 'value', `a bigint of at most ${MAX_BITS} bits`, value)
    }
    const bytes = Buffer.alloc(2 + length, 0x8a)
    bytes[1] = length
    for (let i = 0; i < length; i++) bytes[2 + i] = Number((value >> BigInt(8 * i)) & 255n)
    this.#out.push(bytes)
  }

  #text(value: string): void {
    const bytes = Buffer.from(value)
    const head = Buffer.alloc(5, 'X')
    head.writeUInt32LE(bytes.length, 1)
    this.#out.push(head, bytes)
  }

  /** The function that makes a tensor, and its arguments: storage, offset, shape, strides, … */
  #tensor(tensor: Tensor): void {
    const { buffer } = tensor // disposed: an error before anything is written
    let key = this.#keys.get(buffer)
    if (key === undefined) {
      key = this.#tensors.length
      this.#keys.set(buffer, key)
      this.#tensors.push(tensor)
    }
    this.#code('ctorch._utils\n_rebuild_tensor_v2\n((')
    this.#text('storage')
    this.#code(`ctorch\n${STORAGE[tensor.dtype]}\n`)
    this.#text(String(key))
    this.#text('cpu')
    this.#number(tensor.numel)
    this.#code('tQ')
    this.#number(0)
    this.#sizes(tensor.shape)
    this.#sizes(strides(tensor.shape))
    this.#code(tensor.requiresGrad ? '\x88' : '\x89')
    this.#code('ccollections\nOrderedDict\n)RtR')
  }

  #sizes(sizes: readonly number[]): void {
    this.#code('(')
    for (const size of sizes) this.#number(size)
    this.#code('t')
  }
}

/** Of a tensor whose elements lie one after the other. */
function strides(shape: readonly number[]): number[] {
  const result: number[] = []
  let stride = 1
  for (const size of [...shape].reverse()) {
    result.unshift(stride)
    stride *= Math.max(size, 1)
  }
  return result
}
