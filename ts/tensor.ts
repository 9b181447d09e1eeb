/** Tensors: a shape, an element type and a share of a native buffer. */
import { type BackwardOptions, type Edge, type Node, record, runBackward } from './autograd.js'
import { type Buffer, binding } from './binding.js'
import { refuseJSON, TENSOR_MARK } from './copies.js'
import { checkDevice, checkSameDevice, type Device, deviceNumber } from './device.js'
import {
  checkBoolean,
  checkOptions,
  formatShape,
  rangeError,
  setTensorTest,
  typeError,
} from './errors.js'
import { Memory } from './memory.js'
import type { AlphaOptions } from './ops/arithmetic.js'
import * as arithmetic from './ops/arithmetic.js'
import { indexSelect } from './ops/gather.js'
import { matmul } from './ops/matmul.js'
import type { Dims, ReduceOptions } from './ops/reduce.js'
import * as reduce from './ops/reduce.js'
import * as shapes from './ops/shape.js'
import { logSoftmax, softmax } from './ops/softmax.js'
import { to } from './ops/transfer.js'
import * as unary from './ops/unary.js'
import { numelOf, type Shape } from './shape.js'

export { checkShape, numelOf, type Shape } from './shape.js'

/** Types of elements. */
export type DType = 'float32' | 'int32'
/** A number, or arrays of arrays of numbers of equal lengths. */
export type NestedNumbers = number | readonly NestedNumbers[]

/** What the functions that make tensors take. */
export interface TensorOptions {
  /** Needed with a TypedArray that is not one-dimensional. */
  shape?: Shape
  /** Default: 'float32', or 'int32' for an Int32Array. */
  dtype?: DType
  device?: string | Device
  requiresGrad?: boolean
}

/**
 * An n-dimensional array on a device, row-major. Make one with {@link tensor}, {@link zeros},
 * {@link ones} or {@link randn}.
 */
export class Tensor {
  readonly shape: Shape
  readonly dtype: DType
  /** 'cpu' or 'cuda:N'. */
  readonly device: string
  readonly numel: number
  /** Has structuredClone and postMessage throw, which would lose the values. @internal */
  readonly uncloneable = TENSOR_MARK
  #memory: Memory | null
  #leafRequiresGrad = false
  #gradFn: Node | null = null
  #outputIndex = 0
  #edge: Edge | null = null
  #grad: Tensor | null = null
  #gradSeen = false
  /** Whether something else shares the memory. @internal */
  aliased = false
  /** While backward runs: how many places hold this gradient. @internal */
  holders = 0

  private constructor(memory: Memory, shape: Shape, device: string, dtype: DType, numel: number) {
    this.#memory = memory
    this.shape = Object.isFrozen(shape) ? shape : Object.freeze([...shape])
    this.dtype = dtype
    this.device = device
    this.numel = numel
  }

  /**
   * A tensor over a native buffer that lies on `device` and has exactly the shape's number
   * of elements.
   * @internal
   */
  static wrap(buffer: Buffer, shape: Shape, device: string, dtype: DType = 'float32'): Tensor {
    return new Tensor(new Memory(buffer), shape, device, dtype, numelOf(shape))
  }

  get #own(): Memory {
    if (this.#memory === null)
      throw new TypeError(
        `[Tensor] this tensor of shape ${formatShape(this.shape)} has been disposed`,
      )
    return this.#memory
  }

  /** Throws after dispose(), and for a copy of the fields alone. @internal */
  get buffer(): Buffer {
    if (!(#memory in this))
      throw new TypeError(
        '[Tensor] this is a copy of a tensor without its values, which only clone() copies',
      )
    return this.#own.buffer
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
    const numel = numelOf(shape)
    const memory =
      numel === this.numel ? this.share() : new Memory(binding.view(this.buffer, offset, numel))
    const out = new Tensor(memory, shape, this.device, this.dtype, numel)
    this.aliased = true
    out.aliased = true
    return out
  }

  /**
   * The values, row-major, as a new typed array.
   * @throws (rejects) with the first failure among the operations queued so far.
   */
  async data(): Promise<Float32Array | Int32Array> {
    return binding.read(this.buffer)
  }

  /** The number in a one-element tensor. @throws RangeError when it has more or fewer elements. */
  item(): Promise<number> {
    if (this.numel !== 1) {
      throw rangeError('item', 'tensor', 'exactly one element', `shape ${formatShape(this.shape)}`)
    }
    return firstOf(this.buffer)
  }

  /**
   * Gradients of this tensor with respect to every leaf with `requiresGrad` it was made from,
   * **accumulated** into their `.grad`; as `torch.Tensor.backward`.
   * @param gradient this tensor's own gradient, of its shape; may be left out for one element
   */
  backward(gradient?: Tensor, options?: BackwardOptions): void {
    if (options !== undefined) checkOptions('backward', options, ['retainGraph'])
    runBackward(this, gradient, options)
  }

  /** The same memory without history; as `torch.Tensor.detach`. */
  detach(): Tensor {
    return this.viewAs(this.shape)
  }

  /** A copy with memory of its own; gradients pass through. As `torch.Tensor.clone`. */
  clone(): Tensor {
    const out = Tensor.wrap(binding.clone(this.buffer), this.shape, this.device, this.dtype)
    record('clone', [this], [out], ([g]) => [g as Tensor])
    return out
  }

  /**
   * This tensor on a device, with its history; itself when it is there already. As
   * `torch.Tensor.to`.
   * @throws TypeError for an unknown device; RangeError when this build or machine does not have it
   */
  to(on: string | Device): Tensor {
    const device = checkDevice('to', 'on', on).toString()
    return device === this.device ? this : to(this, device)
  }

  /** Moves the values and the gradient in place; views stay where they are. @internal */
  moveTo(device: string): void {
    if (device === this.device) return
    const memory = new Memory(binding.toDevice(this.buffer, deviceNumber(device)))
    this.#memory?.[Symbol.dispose]()
    this.#memory = memory
    ;(this as { device: string }).device = device
    this.aliased = false
    this.#grad?.moveTo(device)
  }

  /** int32 values as float32; itself when it is float32. As `torch.Tensor.float`. */
  float(): Tensor {
    return unary.float(this)
  }

  /** float32 values as int32, cut towards zero; itself when it is int32. As `torch.Tensor.int`. */
  int(): Tensor {
    return unary.int(this)
  }

  /**
   * Elementwise, with NumPy broadcasting; as `torch.add`. int32 with int32 stays int32 (wrapping
   * around); with float32 it becomes float32. The same holds for sub and mul.
   * @param options `alpha`: what `other` is multiplied by first. Default 1
   * @throws RangeError when the shapes do not broadcast
   */
  add(other: Tensor | number, options?: AlphaOptions): Tensor {
    return arithmetic.add(this, other, options)
  }

  /** As `torch.sub`; see {@link add}. */
  sub(other: Tensor | number, options?: AlphaOptions): Tensor {
    return arithmetic.sub(this, other, options)
  }

  /** As `torch.mul`; see {@link add}. */
  mul(other: Tensor | number): Tensor {
    return arithmetic.mul(this, other)
  }

  /** As `torch.div`; see {@link add}. The result is always float32. */
  div(other: Tensor | number): Tensor {
    return arithmetic.div(this, other)
  }

  /** −x */
  neg(): Tensor {
    return unary.neg(this)
  }

  /** |x|; the gradient at 0 is 0. */
  abs(): Tensor {
    return unary.abs(this)
  }

  /** e to the power of every element; as `torch.exp`. */
  exp(): Tensor {
    return unary.exp(this)
  }

  /** The natural logarithm. */
  log(): Tensor {
    return unary.log(this)
  }

  /** Square root of every element, NaN below 0; as `torch.sqrt`. */
  sqrt(): Tensor {
    return unary.sqrt(this)
  }

  /** x to the power of a number; float32 only. As `torch.pow`. */
  pow(exponent: number): Tensor {
    return unary.pow(this, exponent)
  }

  /** Into [min, max]; null leaves a side open. As `torch.clamp`. */
  clamp(min: number | null = null, max: number | null = null): Tensor {
    return unary.clamp(this, min, max)
  }

  /** Hyperbolic tangent of every element; as `torch.tanh`. */
  tanh(): Tensor {
    return unary.tanh(this)
  }

  /** 1 / (1 + exp(−x)) */
  sigmoid(): Tensor {
    return unary.sigmoid(this)
  }

  /** max(x, 0); the gradient at 0 is 0. */
  relu(): Tensor {
    return unary.relu(this)
  }

  /** The sum over one dimension, several, or all; as `torch.sum`, but int32 stays int32. */
  sum(dim?: Dims, options?: ReduceOptions): Tensor {
    return reduce.sum(this, dim, options)
  }

  /** The mean over one dimension, several, or all; float32 only. As `torch.mean`. */
  mean(dim?: Dims, options?: ReduceOptions): Tensor {
    return reduce.mean(this, dim, options)
  }

  /**
   * The largest value of all, or `[values, indices]` along a dimension (int32 indices, the first of
   * equal ones); as `torch.max`.
   */
  max(): Tensor
  max(dim: number, options?: ReduceOptions): [values: Tensor, indices: Tensor]
  max(dim?: number, options?: ReduceOptions): Tensor | [Tensor, Tensor] {
    return dim === undefined ? reduce.maxAll(this) : reduce.max(this, dim, options)
  }

  /**
   * Where the largest value is, int32, the first of equal ones: along a dimension, or in the
   * flattened tensor. As `torch.argmax`.
   */
  argmax(dim?: number | null, options?: ReduceOptions): Tensor {
    return reduce.argmax(this, dim, options)
  }

  /** exp(x) / Σ exp(x) along a dimension; as `torch.softmax`. */
  softmax(dim: number): Tensor {
    return softmax(this, dim)
  }

  /** The logarithm of {@link softmax}, without its loss of precision; as `torch.log_softmax`. */
  logSoftmax(dim: number): Tensor {
    return logSoftmax(this, dim)
  }

  /**
   * The matrix product; as `torch.matmul`: a vector is a row on the left and a column on the right,
   * dimensions before the last two are a batch and broadcast.
   * @throws TypeError unless both are float32; RangeError when the shapes do not fit
   */
  matmul(other: Tensor): Tensor {
    return matmul(this, other)
  }

  /**
   * The same elements under another shape, sharing the memory; one size may be -1. As
   * `torch.reshape`.
   */
  reshape(shape: Shape): Tensor {
    return shapes.reshape(this, shape)
  }

  /** With a new dimension of size 1; as `torch.unsqueeze`. */
  unsqueeze(dim: number): Tensor {
    return shapes.unsqueeze(this, dim)
  }

  /** Without the dimension `dim` if its size is 1, or without all of size 1; as `torch.squeeze`. */
  squeeze(dim?: number): Tensor {
    return shapes.squeeze(this, dim)
  }

  /** Repeated along dimensions of size 1 and new leading ones (a copy); as `torch.Tensor.expand`. */
  expand(shape: Shape): Tensor {
    return shapes.expand(this, shape)
  }

  /** Two dimensions exchanged; as `torch.transpose`. */
  transpose(a: number, b: number): Tensor {
    return shapes.transpose(this, a, b)
  }

  /** The dimensions in another order; as `torch.permute`. */
  permute(dims: readonly number[]): Tensor {
    return shapes.permute(this, dims)
  }

  /** A matrix transposed; vectors and numbers as they are. As `torch.t`. */
  t(): Tensor {
    return shapes.t(this)
  }

  /** Dimensions walked backwards; as `torch.flip`. */
  flip(dims: number | readonly number[]): Tensor {
    return shapes.flip(this, dims)
  }

  /**
   * The elements [start, end) along a dimension; as Python's `x[start:end]`: negative numbers count
   * from the end, and what lies beyond the ends is cut off. Along the first dimension the memory is
   * shared. With a `step` above 1 only every step-th of them, copied: `x[start:end:step]`.
   */
  slice(dim: number, start = 0, end = Infinity, step = 1): Tensor {
    return shapes.slice(this, dim, start, end, step)
  }

  /** One index along a dimension, which goes away; as `torch.select`. */
  select(dim: number, index: number): Tensor {
    return shapes.select(this, dim, index)
  }

  /**
   * The slices along `dim` that the int32 vector `index` names; as `torch.index_select`. A wrong
   * index is found when the queue gets there, and rejects the next promise.
   */
  indexSelect(dim: number, index: Tensor): Tensor {
    return indexSelect(this, dim, index)
  }

  /** Frees the memory now (as soon as the queue is done with it). Disposing twice is fine. */
  [Symbol.dispose](): void {
    this.#memory?.[Symbol.dispose]()
    this.#memory = null
  }

  /** Shape, dtype and device; the values are behind `data()`. */
  toString(): string {
    return `Tensor(shape=${formatShape(this.shape)}, dtype=${this.dtype}${this.device === 'cpu' ? '' : `, device=${this.device}`}${this.requiresGrad ? ', requiresGrad' : ''})`
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

setTensorTest((value) => value instanceof Tensor)

async function firstOf(buffer: Buffer): Promise<number> {
  return (await binding.read(buffer))[0] as number
}
