/** Tensors: a shape, an element type and a share of a native buffer. */
import { totalmem } from 'node:os'
import { type BackwardOptions, type Node, record, runBackward } from './autograd.js'
import { type Buffer, binding } from './binding.js'
import { type Device, device } from './device.js'
import {
  checkBoolean,
  checkInteger,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from './errors.js'
import { add, div, mul, sub } from './ops/arithmetic.js'

export type DType = 'float32' | 'int32'
export type Shape = readonly number[]
/** A number, or arrays of arrays of numbers of equal lengths. */
export type NestedNumbers = number | readonly NestedNumbers[]

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
  #buffer: Buffer | null
  #leafRequiresGrad = false
  #gradFn: Node | null = null
  #outputIndex = 0
  #grad: Tensor | null = null
  #gradSeen = false
  /** Whether another tensor shares the memory. Internal. */
  aliased = false

  private constructor(buffer: Buffer, shape: Shape, dtype: DType, numel: number) {
    this.#buffer = buffer
    this.shape = Object.freeze([...shape])
    this.dtype = dtype
    this.device = 'cpu'
    this.numel = numel
  }

  /** Internal: a tensor over a native buffer that has exactly the shape's number of elements. */
  static wrap(buffer: Buffer, shape: Shape, dtype: DType = 'float32'): Tensor {
    return new Tensor(buffer, shape, dtype, numelOf(shape))
  }

  /** Internal: throws after dispose(). */
  get buffer(): Buffer {
    if (this.#buffer === null)
      throw new TypeError(
        `[Tensor] this tensor of shape ${formatShape(this.shape)} has been disposed`,
      )
    return this.#buffer
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
    this.#gradSeen = true
    this.#grad = value
  }

  /** Internal: the gradient, for code that does not keep it. */
  get ownGrad(): Tensor | null {
    return this.#grad
  }

  /** Internal: a gradient that nobody else has. */
  set ownGrad(value: Tensor) {
    this.#gradSeen = false
    this.#grad = value
  }

  /**
   * Internal: sets grad to null. A gradient that no user has ever read is freed at once, so that a
   * training loop does not wait for the garbage collector.
   */
  dropGrad(): void {
    if (!this.#gradSeen) this.#grad?.[Symbol.dispose]()
    this.#grad = null
  }

  /** The operation that made this tensor, or null for a leaf. Internal. */
  get gradFn(): Node | null {
    return this.#gradFn
  }

  /** Which of gradFn's outputs this is. Internal. */
  get outputIndex(): number {
    return this.#outputIndex
  }

  /** Internal: see autograd.record. */
  attach(node: Node, output: number): void {
    this.#gradFn = node
    this.#outputIndex = output
  }

  /** Internal: takes over another tensor's memory (same shape), keeping this tensor's identity. */
  replaceWith(other: Tensor): void {
    if (this.#buffer !== null) binding.release(this.#buffer)
    this.#buffer = other.buffer
    this.aliased = other.aliased
    other.#buffer = null
  }

  /** Internal: a tensor of another shape (same number of elements from `offset`) on the same memory. */
  viewAs(shape: Shape, offset = 0): Tensor {
    const out = Tensor.wrap(binding.view(this.buffer, offset, numelOf(shape)), shape, this.dtype)
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
    return binding.read(this.buffer).then((values) => values[0] as number)
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
    const out = Tensor.wrap(binding.clone(this.buffer), this.shape, this.dtype)
    record('clone', [this], [out], ([g]) => [g as Tensor])
    return out
  }

  /**
   * This tensor on a device; itself when it is there already. As `torch.Tensor.to`.
   * @throws TypeError for an unknown device; Error when this build or machine does not have it
   */
  to(on: string | Device): Tensor {
    device(on)
    return this
  }

  add(other: Tensor | number): Tensor {
    return add(this, other)
  }
  sub(other: Tensor | number): Tensor {
    return sub(this, other)
  }
  mul(other: Tensor | number): Tensor {
    return mul(this, other)
  }
  div(other: Tensor | number): Tensor {
    return div(this, other)
  }

  /** Frees the memory now (as soon as the queue is done with it). Disposing twice is fine. */
  [Symbol.dispose](): void {
    if (this.#buffer === null) return
    binding.release(this.#buffer)
    this.#buffer = null
  }

  toString(): string {
    return `Tensor(shape=${formatShape(this.shape)}, dtype=${this.dtype}${this.requiresGrad ? ', requiresGrad' : ''})`
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }
}

/** The most dimensions a tensor has. */
export const MAX_DIMS = 8

/** Product of the sizes. */
export function numelOf(shape: Shape): number {
  let n = 1
  for (const size of shape) n *= size
  return n
}

/** Checks a shape from outside. @throws TypeError, RangeError */
export function checkShape(fn: string, shape: unknown): Shape {
  if (!Array.isArray(shape)) throw typeError(fn, 'shape', 'an array of sizes', shape)
  if (shape.length > MAX_DIMS)
    throw rangeError(fn, 'shape', `at most ${MAX_DIMS} dimensions`, `${shape.length}`)
  shape.forEach((size, d) => {
    checkInteger(fn, `shape[${d}]`, size, 0)
  })
  const bytes = numelOf(shape) * 4
  if (bytes > totalmem()) {
    throw rangeError(
      fn,
      'shape',
      `a tensor that fits this machine's memory (${totalmem()} bytes)`,
      `${formatShape(shape)} (${bytes} bytes)`,
    )
  }
  return shape as Shape
}
