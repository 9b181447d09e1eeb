/** Tensors: a shape, an element type and a share of a native buffer. */

import {
  addHook,
  type GradientHook,
  type RemovableHandle,
  retain,
  retains,
} from './autograd/hooks.js'
import {
  type Backward,
  type BackwardOptions,
  type Edge,
  type Node,
  record,
  runBackward,
} from './autograd.js'
import { type Buffer, binding } from './binding.js'
import { refuseJSON, TENSOR_MARK } from './copies.js'
import { checkDevice, checkSameDevice, type Device, deviceNumber } from './device.js'
import { type DType, isDType } from './dtype.js'
import {
  checkBoolean,
  checkOptions,
  formatShape,
  rangeError,
  setTensorTest,
  typeError,
} from './errors.js'
import { type Change, Memory } from './memory.js'
import { copyOfRows, disposeRows, movedRows, type Rows, sharedRows } from './ops/rows.js'
import { to } from './ops/transfer.js'
import * as unary from './ops/unary.js'
import { MOST_SHOWN, preview } from './preview.js'
import { numelOf, type Shape } from './shape.js'
import { SparseMethods } from './tensor/sparse.js'

export type { DType } from './dtype.js'
export { checkShape, numelOf, type Shape } from './shape.js'

/** A number or boolean, or arrays of arrays of them of equal lengths. */
export type NestedNumbers =
  | number
  | boolean
  | Exclude<NodeJS.TypedArray, BigInt64Array | BigUint64Array>
  | readonly NestedNumbers[]

/** What the functions that make tensors take. */
export interface TensorOptions {
  /** Needed with a TypedArray that is not one-dimensional. */
  shape?: Shape
  /** Default: 'float32'; 'int32' for an Int32Array; 'bool' for booleans. */
  dtype?: DType
  device?: string | Device
  requiresGrad?: boolean
}

/** How many tensors have been made, roughly. */
let made = 0

/**
 * An n-dimensional array on a device, row-major. Make one with {@link tensor}, {@link zeros},
 * {@link ones} or {@link randn}.
 */
export class Tensor extends SparseMethods {
  /** What tells tensors apart for assert.deepStrictEqual, which does not see values. @internal */
  readonly id: number
  readonly #shape: Shape
  readonly #dtype: DType
  #device: string
  readonly #numel: number
  /** Has structuredClone and postMessage throw, which would lose the values. @internal */
  readonly uncloneable = TENSOR_MARK
  #memory: Memory | null
  #leafRequiresGrad = false
  #gradFn: Node | null = null
  #outputIndex = 0
  #edge: Edge | null = null
  #grad: Tensor | null = null
  #gradSeen = false
  /** What was last read of a GPU, for toString, and which version of the values. */
  #seen: { values: ArrayLike<number>; at: number } | null = null
  /** Whether something else shares the memory. @internal */
  aliased = false
  /** While backward runs: how many places hold this gradient. @internal */
  holders = 0

  private constructor(
    memory: Memory | null,
    shape: Shape,
    device: string,
    dtype: DType,
    numel: number,
  ) {
    super()
    this.#memory = memory
    made = (made + 1) | 0
    this.id = made
    this.#shape = Object.isFrozen(shape) ? shape : Object.freeze([...shape])
    this.#dtype = dtype
    this.#device = device
    this.#numel = numel
  }

  get shape(): Shape {
    return #shape in this ? this.#shape : hollow()
  }

  get dtype(): DType {
    return #dtype in this ? this.#dtype : hollow()
  }

  /** 'cpu' or 'cuda:N'. */
  get device(): string {
    return #device in this ? this.#device : hollow()
  }

  get numel(): number {
    return #numel in this ? this.#numel : hollow()
  }

  /**
   * A tensor over a native buffer that lies on `device` and has exactly the shape's number
   * of elements.
   * @internal
   */
  static wrap(buffer: Buffer, shape: Shape, device: string, dtype: DType = 'float32'): Tensor {
    return new Tensor(new Memory(buffer), shape, device, dtype, numelOf(shape))
  }

  /** A tensor over a share of memory, which becomes its own. @internal */
  static over(memory: Memory, shape: Shape, device: string, dtype: DType = 'float32'): Tensor {
    const tensor = new Tensor(memory, shape, device, dtype, numelOf(shape))
    tensor.aliased = true
    return tensor
  }

  /** A sparse float32 tensor over rows, which become its own. @internal */
  static ofRows(rows: Rows, shape: Shape, device: string): Tensor {
    const tensor = new Tensor(null, shape, device, 'float32', numelOf(shape))
    tensor.rows = rows
    return tensor
  }

  get #own(): Memory {
    if (this.#memory === null && this.rows !== null)
      throw new TypeError(
        `[Tensor] expected an ordinary tensor, got a sparse one of shape ${formatShape(this.shape)}, as gradients are of an nn.Embedding with sparse: true; use its toDense()`,
      )
    if (this.#memory === null)
      throw new TypeError(
        `[Tensor] this tensor of shape ${formatShape(this.shape)} has been disposed`,
      )
    return this.#memory
  }

  /** Throws after dispose(), and for a copy of the fields alone. @internal */
  get buffer(): Buffer {
    return #memory in this ? this.#own.buffer : hollow()
  }

  /** The version of the memory: see Memory.changedAt. @internal */
  get changedAt(): number {
    return this.#own.changedAt
  }

  /** See Memory.lastChange. @internal */
  get lastChange(): Change {
    return this.#own.lastChange
  }

  /** To be called after the values were changed in place. @param by the public function @internal */
  changed(by: string): void {
    if (this.rows !== null) this.rows.values.changed(by)
    else this.#own.changed(by, this.shape)
  }

  /** A share of the memory, which lasts when the tensor is disposed; for backward. @internal */
  share(): Memory {
    this.aliased = true
    return this.#own.share()
  }

  get requiresGrad(): boolean {
    return this.#leafRequiresGrad || this.#gradFn !== null
  }

  set requiresGrad(value: boolean) {
    checkBoolean('Tensor', 'requiresGrad', value)
    if (this.#gradFn !== null) {
      if (!value)
        throw new TypeError(
          '[Tensor] requiresGrad can only be switched off on leaf tensors; use detach()',
        )
      return
    }
    if (value && this.rows !== null) this.#own
    if (value && this.dtype !== 'float32')
      throw new TypeError(
        `[Tensor] requiresGrad: only float32 tensors can require gradients, got ${this.dtype}`,
      )
    this.#leafRequiresGrad = value
  }

  /** The gradient that backward() has accumulated, or null. */
  get grad(): Tensor | null {
    this.#gradSeen = true
    return this.#grad
  }

  set grad(value: Tensor | null) {
    if (value !== null && !(value instanceof Tensor))
      throw typeError('Tensor', 'grad', 'a tensor or null', value)
    if (
      value !== null &&
      (value.dtype !== this.dtype || formatShape(value.shape) !== formatShape(this.shape))
    ) {
      throw rangeError(
        'Tensor',
        'grad',
        `${this.dtype} of shape ${formatShape(this.shape)}`,
        `${value.dtype} of shape ${formatShape(value.shape)}`,
      )
    }
    checkSameDevice('Tensor', 'grad', value, this.device)
    this.#gradSeen = true
    this.#grad = value
  }

  /** The gradient, for code that does not keep it. @internal */
  get ownGrad(): Tensor | null {
    return this.#grad
  }

  /** The gradient, for internal use: its memory is not shared. @internal */
  set ownGrad(value: Tensor) {
    this.#gradSeen = false
    this.#grad = value
  }

  /**
   * Sets grad to null. A gradient that no user has ever read is freed at once, so that a
   * training loop does not wait for the garbage collector.
   * @internal
   */
  dropGrad(): void {
    if (!this.#gradSeen) this.#grad?.[Symbol.dispose]()
    this.#grad = null
  }

  /** The operation that made this tensor, or null for a leaf. @internal */
  get gradFn(): Node | null {
    return this.#gradFn
  }

  /** Which of gradFn's outputs this is. @internal */
  get outputIndex(): number {
    return this.#outputIndex
  }

  /** Where this tensor's gradient goes. @internal */
  get edge(): Edge {
    this.#edge ??= { to: this.#gradFn ?? this, output: this.#outputIndex }
    return this.#edge
  }

  /** See autograd.record. @internal */
  attach(node: Node, output: number): void {
    this.#gradFn = node
    this.#outputIndex = output
    this.#edge = null
  }

  /** A tensor of another shape (same number of elements from `offset`) on the same memory. @internal */
  viewAs(shape: Shape, offset = 0): Tensor {
    if (this.rows !== null && shape === this.shape)
      return Tensor.ofRows(sharedRows(this.rows), shape, this.device)
    const numel = numelOf(shape)
    const memory =
      numel === this.numel
        ? this.share()
        : new Memory(binding.view(this.buffer, offset, numel), this.#own)
    const out = new Tensor(memory, shape, this.device, this.dtype, numel)
    this.aliased = true
    out.aliased = true
    return out
  }

  /**
   * The values, row-major, as a new typed array: a Float32Array or Int32Array; for 'bool' a
   * Uint8Array of 0 and 1: `await mask.data<Uint8Array>()`.
   * @throws (rejects) with the first failure among the operations queued so far.
   */
  async data<
    T extends Float32Array | Int32Array | Uint8Array = Float32Array | Int32Array,
  >(): Promise<T> {
    if (this.device !== 'cpu' && this.numel <= MOST_SHOWN) return this.#read()
    return binding.read(this.buffer) as Promise<T>
  }

  /** Reads a GPU's values and keeps a copy for {@link toString}. */
  async #read<T extends Float32Array | Int32Array | Uint8Array>(): Promise<T> {
    const at = this.changedAt
    const values = (await binding.read(this.buffer)) as T
    this.#seen = { values: values.slice(), at }
    return values
  }

  /**
   * The number in a one-element tensor; of 'bool' a boolean: `await mask.item<boolean>()`.
   * @throws RangeError when it has more or fewer elements
   */
  item<T extends number | boolean = number>(): Promise<T> {
    if (this.numel !== 1) {
      throw rangeError('item', 'tensor', 'exactly one element', `shape ${formatShape(this.shape)}`)
    }
    return this.#first() as Promise<T>
  }

  async #first(): Promise<number | boolean> {
    const values = await (this.device === 'cpu' ? binding.read(this.buffer) : this.#read())
    return this.dtype === 'bool' ? values[0] !== 0 : (values[0] as number)
  }

  /**
   * Gradients of this tensor with respect to every leaf with `requiresGrad` it was made from,
   * **accumulated** into their `.grad`; as `torch.Tensor.backward`.
   * @param gradient this tensor's own gradient, of its shape; may be left out for one element
   */
  backward(gradient?: Tensor, options?: BackwardOptions): void {
    if (options !== undefined)
      checkOptions('backward', options, ['retainGraph', 'createGraph', 'inputs'])
    runBackward(this, gradient, options)
  }

  /**
   * Has `hook` called with the whole gradient of this tensor in every backward that comes to it; what
   * it returns takes the gradient's place. As `torch.Tensor.register_hook`.
   * @throws TypeError when the tensor requires no gradient
   */
  registerHook(hook: GradientHook): RemovableHandle {
    return addHook(this, hook)
  }

  /**
   * Has backward keep the gradient of a computed tensor in `.grad`, too; as
   * `torch.Tensor.retain_grad`. Nothing for a leaf, which has it anyway.
   * @throws TypeError when the tensor requires no gradient
   */
  retainGrad(): void {
    retain(this)
  }

  /** Whether this is a computed tensor that {@link retainGrad} was called for. */
  get retainsGrad(): boolean {
    return retains(this)
  }

  /** The same memory without history; as `torch.Tensor.detach`. */
  detach(): Tensor {
    return this.viewAs(this.shape)
  }

  /** A copy with memory of its own; gradients pass through. As `torch.Tensor.clone`. */
  clone(): Tensor {
    if (this.rows !== null) return copyOfRows(this, this.rows)
    const out = Tensor.wrap(binding.clone(this.buffer), this.shape, this.device, this.dtype)
    const backward: Backward = ([g]) => [g as Tensor]
    record('clone', [this], [out], backward, [], 'values', backward)
    return out
  }

  /**
   * This tensor on a device, or with elements of another type ('float32', 'int32', 'bool'), with its
   * history; itself when it is so already. As `torch.Tensor.to`.
   * @throws TypeError for an unknown device; RangeError when this build or machine does not have it
   */
  to(on: string | Device): Tensor {
    if (isDType(on)) return unary.cast(this, on)
    const device = checkDevice('to', 'on', on).toString()
    if (device === this.device) return this
    if (this.rows !== null) return Tensor.ofRows(movedRows(this.rows, device), this.shape, device)
    return to(this, device)
  }

  /** Moves the values and the gradient in place; views stay where they are. @internal */
  moveTo(device: string): void {
    if (device === this.device) return
    if (this.rows !== null) {
      const before = this.rows
      this.rows = movedRows(before, device)
      disposeRows(before)
      this.#device = device
      return
    }
    const memory = new Memory(binding.toDevice(this.buffer, deviceNumber(device)))
    this.#memory?.[Symbol.dispose]()
    this.#memory = memory
    memory.changed('to', this.shape)
    this.#device = device
    this.aliased = false
    this.#grad?.moveTo(device)
  }

  /** As float32; itself when it is float32. As `torch.Tensor.float`. */
  float(): Tensor {
    return unary.float(this)
  }

  /** As int32, cut towards zero; itself when it is int32. As `torch.Tensor.int`. */
  int(): Tensor {
    return unary.int(this)
  }

  /** Whether each element is not 0 (NaN is not); itself when it is bool. As `torch.Tensor.bool`. */
  bool(): Tensor {
    return unary.cast(this, 'bool')
  }

  /** Frees the memory now (as soon as the queue is done with it). Disposing twice is fine. */
  [Symbol.dispose](): void {
    this.#memory?.[Symbol.dispose]()
    this.#memory = null
    if (this.rows !== null) disposeRows(this.rows)
    this.rows = null
  }

  /**
   * Shape, dtype and device, and the values as far as they are there: nothing waits. Those of a CPU are
   * when all operations so far are done, those of a GPU when `data()` has read them (up to 1000). Of
   * more than 1000 elements the first and last.
   */
  override toString(): string {
    const { shape, dtype, device } = this
    const where = device === 'cpu' ? '' : `, device=${device}`
    const sparse = this.rows === null ? '' : `, sparse, up to ${this.rows.index.numel} rows`
    const head = `Tensor(shape=${formatShape(shape)}, dtype=${dtype}${where}${sparse}${this.requiresGrad ? ', requiresGrad' : ''})`
    const values = this.#memory === null ? null : preview(shape, dtype, (list) => this.#peek(list))
    return values === null ? head : `${head}${shape.length === 0 ? ': ' : ':\n'}${values}`
  }

  /** Elements by their numbers, if nothing has to be waited for. */
  #peek(numbers: readonly number[]): ArrayLike<number> | null {
    if (this.device === 'cpu') return binding.peek(this.#own.buffer, numbers)
    if (this.#seen === null || this.#seen.at !== this.changedAt) return null
    const { values } = this.#seen
    return numbers.map((number) => values[number] as number)
  }

  /** `${tensor}` is {@link toString}'s text; `a + b`, `a < b` and `a == 1` have no meaning. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === 'string') return this.toString()
    throw new TypeError(
      '[Tensor] a tensor is no number and no text: use a.add(b), sub, mul, div in place of operators, await t.item() for its number, String(t) for its shape in a text',
    )
  }

  /** @throws TypeError always: `Array.from(t)` and `new Float32Array(t)` would be empty */
  [Symbol.iterator](): never {
    throw new TypeError(
      '[Tensor] a tensor cannot be iterated over: use await t.data() for its numbers, t.select(0, i) for a row',
    )
  }

  /** @throws TypeError always: JSON cannot hold the values */
  toJSON(): never {
    refuseJSON(
      'Tensor',
      'use [...(await t.data())] for its numbers, io.safetensors.save for a file, utils.toTransferable for a worker',
    )
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}

/** What a tensor is never changed into, with what gives one that is so. */
const FIXED = {
  shape: 'x = x.reshape(shape)',
  dtype: "x = x.to('int32'), x.float() or x.bool()",
  device: "x = x.to('cuda')",
  numel: 'x = x.reshape(shape)',
}
for (const [name, way] of Object.entries(FIXED)) {
  const { get } = Object.getOwnPropertyDescriptor(Tensor.prototype, name) as { get(): unknown }
  const set = (): never => {
    throw new TypeError(`[Tensor] ${name}: a tensor keeps its ${name}; make another one: ${way}`)
  }
  Object.defineProperty(Tensor.prototype, name, { get, set, configurable: true })
}

/** For an object that has only a tensor's fields. */
function hollow(): never {
  throw new TypeError(
    '[Tensor] this is a copy of a tensor without its values, which only clone() copies',
  )
}

setTensorTest((value) => value instanceof Tensor)
