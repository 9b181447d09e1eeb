/**
 * Pickles as torch.save writes them: a program for a small stack machine. Here it builds plain values
 * and descriptions of tensors. What it names beside those is refused by name; nothing is ever called.
 */
import { describe } from '../../errors.js'
import type { FileDType } from '../dtypes.js'
import { KNOWN, type KnownName, refusal, STORAGES, TORCH_DTYPES } from './names.js'
import { damaged, PickleReader } from './pickle_reader.js'
import {
  keyOf,
  leafOf,
  Name,
  PickledTensor,
  StorageRef,
  storageOf,
  tensorOf,
} from './pickled_tensor.js'

/** Instructions and containers: each takes memory, whatever the file says. */
const MAX_INSTRUCTIONS = 2 ** 23
const MAX_CONTAINERS = 2 ** 20
/** As in safetensors files. */
const MAX_TENSORS = 65_536

const MARK = Symbol('mark')

/**
 * Each step runs some instructions.
 * @returns plain values, arrays (lists and tuples), Maps (dicts), Sets, Uint8Arrays (bytes), and
 *   PickledTensors
 * @throws Error that says what is wrong, or names what is not known
 */
export function* unpickle(bytes: Uint8Array): Generator<void, unknown> {
  const machine = new Machine(bytes)
  for (let i = 0; ; i++) {
    if (i >= MAX_INSTRUCTIONS)
      throw new Error(`its pickle has more than ${MAX_INSTRUCTIONS} instructions`)
    if (machine.step()) return machine.result()
    if (i % 64 === 0) yield
  }
}

class Machine {
  readonly #in: PickleReader
  readonly #stack: unknown[] = []
  readonly #memo = new Map<number, unknown>()
  #containers = 0
  #tensors = 0
  /** Elements that may still be copied: what is there once can be referred to again and again. */
  #copies = MAX_INSTRUCTIONS
  #bytesLeft: number

  constructor(bytes: Uint8Array) {
    this.#in = new PickleReader(bytes)
    this.#bytesLeft = bytes.length
  }

  result(): unknown {
    if (this.#stack.length !== 1) throw damaged('it does not end with one value')
    return this.#plain(this.#pop())
  }

  #push(value: unknown): void {
    this.#stack.push(value)
  }

  #pop(): unknown {
    if (this.#stack.length === 0) throw damaged('a value is missing')
    const value = this.#stack.pop()
    if (value === MARK) throw damaged('a value is missing')
    return value
  }

  /** All behind the last mark. */
  #popMark(): unknown[] {
    const at = this.#stack.lastIndexOf(MARK)
    if (at < 0) throw damaged('a mark is missing')
    const values = this.#stack.splice(at)
    values.shift()
    return values
  }

  #top(): unknown {
    return this.#stack.at(-1)
  }

  #new<T extends object>(container: T): T {
    if (++this.#containers > MAX_CONTAINERS)
      throw new Error(`it has more than ${MAX_CONTAINERS} lists and dicts`)
    return container
  }

  #copy(elements: number): void {
    this.#copies -= elements
    if (this.#copies < 0) throw new Error(`it copies more than ${MAX_INSTRUCTIONS} values`)
  }

  #copyBytes(length: number): void {
    this.#bytesLeft -= length
    if (this.#bytesLeft < 0) throw new Error('it makes more bytes than it has')
  }

  /** What may stand in the result. */
  #plain(value: unknown): unknown {
    return leafOf(value, () => this.#near())
  }

  /** The text that was last on the stack: mostly the key under which something stands. */
  #near(): string | null {
    for (let i = this.#stack.length - 1; i >= 0; i--) {
      const value = this.#stack[i]
      if (typeof value === 'string' && value !== 'storage') return value.slice(0, 80)
    }
    return null
  }

  /** Runs one instruction. @returns whether it was the last */
  step(): boolean {
    const code = this.#in.byte()
    switch (code) {
      case 0x2e: // .
        return true
      case 0x80: // the protocol
        if (this.#in.byte() > 5)
          throw new Error('its pickle is of a protocol that is not known here')
        return false
      case 0x95: // a frame
        this.#in.bytes(8)
        return false
      default:
        if (!this.#value(code) && !this.#fill(code) && !this.#remember(code) && !this.#make(code))
          throw new Error(
            `its pickle has the instruction 0x${code.toString(16)}, which torch.save does not write`,
          )
        return false
    }
  }

  /** Plain values and empty containers. */
  #value(code: number): boolean {
    const read = this.#in
    switch (code) {
      case 0x28: // (
        this.#push(MARK)
        return true
      case 0x4e: // N
        this.#push(null)
        return true
      case 0x88:
      case 0x89:
        this.#push(code === 0x88)
        return true
      case 0x4a: // J
        this.#push(read.int())
        return true
      case 0x4b: // K
        this.#push(read.byte())
        return true
      case 0x4d: // M
        this.#push(read.short())
        return true
      case 0x8a:
        this.#push(read.integer(read.byte()))
        return true
      case 0x8b:
        this.#push(read.integer(read.length()))
        return true
      case 0x47: // G
        this.#push(read.double())
        return true
      case 0x58: // X
        this.#push(read.text(read.length()))
        return true
      case 0x8c:
        this.#push(read.text(read.byte()))
        return true
      case 0x8d:
        this.#push(read.text(read.long()))
        return true
      case 0x55: // U: a str of Python 2
        this.#push(read.text(read.byte()))
        return true
      case 0x42: // B
        this.#push(this.#new(read.bytes(read.length()).slice()))
        return true
      case 0x43: // C
        this.#push(this.#new(read.bytes(read.byte()).slice()))
        return true
      case 0x8e:
      case 0x96:
        this.#push(this.#new(read.bytes(read.long()).slice()))
        return true
      case 0x5d: // ]
      case 0x29: // )
        this.#push(this.#new([]))
        return true
      case 0x7d: // }
        this.#push(this.#new(new Map()))
        return true
      case 0x8f:
        this.#push(this.#new(new Set()))
        return true
      default:
        return false
    }
  }

  /** What makes tuples, and fills containers. */
  #fill(code: number): boolean {
    switch (code) {
      case 0x74: // t
      case 0x6c: // l
        this.#push(this.#new(this.#popMark().map((value) => this.#inner(value))))
        return true
      case 0x85:
      case 0x86:
      case 0x87: {
        const values: unknown[] = []
        for (let i = 0x84; i < code; i++) values.unshift(this.#inner(this.#pop()))
        this.#push(this.#new(values))
        return true
      }
      case 0x61: // a
      case 0x65: {
        // e
        const values = code === 0x61 ? [this.#pop()] : this.#popMark()
        const list = this.#top()
        if (!Array.isArray(list)) throw damaged('something is added to what is no list')
        for (const value of values) list.push(this.#plain(value))
        return true
      }
      case 0x73: // s
      case 0x75: {
        // u
        const values = code === 0x73 ? [this.#pop(), this.#pop()].reverse() : this.#popMark()
        this.#setItems(values)
        return true
      }
      case 0x64: {
        // d
        const values = this.#popMark()
        this.#push(this.#new(new Map()))
        this.#setItems(values)
        return true
      }
      case 0x90: {
        const values = this.#popMark()
        const set = this.#top()
        if (!(set instanceof Set)) throw damaged('something is added to what is no set')
        for (const value of values) set.add(keyOf(value))
        return true
      }
      case 0x91:
        this.#push(this.#new(new Set(this.#popMark().map(keyOf))))
        return true
      default:
        return false
    }
  }

  /** In a tuple, which may be one of arguments. */
  #inner(value: unknown): unknown {
    return value instanceof StorageRef || value instanceof Name ? value : this.#plain(value)
  }

  #setItems(values: readonly unknown[]): void {
    const dict = this.#top()
    if (!(dict instanceof Map)) throw damaged('something is set in what is no dict')
    if (values.length % 2 !== 0) throw damaged('a dict has a key without a value')
    for (let i = 0; i < values.length; i += 2)
      dict.set(keyOf(values[i]), this.#plain(values[i + 1]))
  }

  /** What has been there before, and what is no longer wanted. */
  #remember(code: number): boolean {
    const read = this.#in
    switch (code) {
      case 0x71: // q
        this.#memo.set(read.byte(), this.#peek())
        return true
      case 0x72: // r
        this.#memo.set(read.length(), this.#peek())
        return true
      case 0x94:
        this.#memo.set(this.#memo.size, this.#peek())
        return true
      case 0x68: // h
        this.#recall(read.byte())
        return true
      case 0x6a: // j
        this.#recall(read.length())
        return true
      case 0x30: // 0
        this.#pop()
        return true
      case 0x31: // 1
        this.#popMark()
        return true
      case 0x32: // 2
        this.#push(this.#peek())
        return true
      default:
        return false
    }
  }

  #peek(): unknown {
    const value = this.#top()
    if (value === undefined || value === MARK) throw damaged('a value is missing')
    return value
  }

  #recall(number: number): void {
    if (!this.#memo.has(number)) throw damaged(`it refers to a value ${number}, which is not there`)
    this.#push(this.#memo.get(number))
  }

  /** Names, storages, and what is made of arguments. */
  #make(code: number): boolean {
    switch (code) {
      case 0x63: {
        // c
        const module = this.#in.line()
        this.#push(this.#name(module, this.#in.line()))
        return true
      }
      case 0x93: {
        const name = this.#pop()
        this.#push(this.#name(this.#pop(), name))
        return true
      }
      case 0x51: // Q
        this.#push(new StorageRef(storageOf(this.#pop())))
        return true
      case 0x52: // R
      case 0x81: {
        // called, and made a new one of
        const given = this.#pop()
        const callee = this.#pop()
        if (!(callee instanceof Name) || !Array.isArray(given))
          throw damaged('something is made of what is no class')
        this.#push(this.#made(callee.name as KnownName, given))
        return true
      }
      case 0x62: {
        // b: attributes. A state dict has versions of modules there, which nothing needs.
        const attributes = this.#pop()
        if (!(this.#top() instanceof Map) || !(attributes instanceof Map))
          throw new Error('it has an object with attributes, which is not known here')
        return true
      }
      default:
        return false
    }
  }

  #name(module: unknown, name: unknown): Name {
    if (typeof module !== 'string' || typeof name !== 'string') throw damaged('a name is no text')
    const full = `${module === '__builtin__' ? 'builtins' : module}.${name}`
    const isDType = module === 'torch' && TORCH_DTYPES.has(name)
    if (!isDType && !STORAGES.has(full) && !KNOWN.includes(full as KnownName))
      throw refusal(full, this.#near())
    return new Name(full)
  }

  #made(name: KnownName, given: unknown[]): unknown {
    switch (name) {
      case 'collections.OrderedDict':
      case 'collections.Counter': {
        const dict = this.#new(new Map())
        const [pairs = []] = given
        if (pairs instanceof Map) {
          this.#copy(pairs.size)
          for (const [key, value] of pairs) dict.set(key, value)
        } else if (!Array.isArray(pairs)) throw damaged('a dict is made of something else')
        else {
          this.#copy(pairs.length)
          for (const pair of pairs) {
            if (!Array.isArray(pair) || pair.length !== 2)
              throw damaged('a dict is made of no pairs')
            dict.set(keyOf(pair[0]), this.#plain(pair[1]))
          }
        }
        return dict
      }
      case 'builtins.set': {
        const [values = []] = given
        if (!Array.isArray(values)) throw damaged('a set is made of something else')
        this.#copy(values.length)
        return this.#new(new Set(values.map(keyOf)))
      }
      case 'torch.Size': {
        const [sizes = []] = given
        if (!Array.isArray(sizes)) throw damaged('a size is made of something else')
        return sizes
      }
      case 'torch.device': {
        const [type, index] = given
        if (typeof type !== 'string') throw damaged('a device has no name')
        return typeof index === 'number' ? `${type}:${index}` : type
      }
      case '_codecs.encode':
      case 'builtins.bytearray': {
        const [text = '', encoding = 'latin1'] = given
        if (typeof text === 'string' || text instanceof Uint8Array) this.#copyBytes(text.length)
        if (text instanceof Uint8Array) return this.#new(text.slice())
        if (typeof text !== 'string' || (encoding !== 'latin1' && encoding !== 'latin-1'))
          throw damaged('bytes are made of something else')
        return this.#new(new Uint8Array(Buffer.from(text, 'latin1')))
      }
      case 'torch._utils._rebuild_tensor':
        return this.#tensor(given.slice(0, 4), null)
      case 'torch._utils._rebuild_tensor_v2':
        return this.#tensor(given, null)
      case 'torch._utils._rebuild_tensor_v3': {
        const dtype = given[6] instanceof Name ? this.#plain(given[6]) : given[6]
        const known = TORCH_DTYPES.get(String(dtype))
        if (known === undefined) throw damaged(`a tensor has the type ${describe(dtype)}`)
        return this.#tensor(given, known)
      }
      case 'torch._utils._rebuild_parameter': {
        const [tensor, requiresGrad] = given
        if (!(tensor instanceof PickledTensor)) throw damaged('a parameter is made of no tensor')
        const { storage, dtype, offset, shape, strides } = tensor
        return new PickledTensor(storage, dtype, offset, shape, strides, requiresGrad === true)
      }
      default:
        throw refusal(name, this.#near())
    }
  }

  #tensor(given: readonly unknown[], as: FileDType | null): PickledTensor {
    if (++this.#tensors > MAX_TENSORS) throw new Error(`it has more than ${MAX_TENSORS} tensors`)
    return tensorOf(given, as)
  }
}
