/**
 * Initial values that are computed in JavaScript, in double precision: matrices with a structure,
 * and normal numbers within limits; as `torch.nn.init`.
 */
import { binding } from '../binding.js'
import { generator } from '../data/shuffle.js'
import { deviceNumber } from '../device.js'
import { checkInteger, checkNumber, formatShape, rangeError } from '../errors.js'
import { float32s } from '../js_memory.js'
import { checkFloat } from '../ops/common.js'
import { copyInto } from '../ops/in_place.js'
import { nextRandom } from '../random.js'
import { numelOf, type Tensor } from '../tensor.js'

/** Writes values into a tensor. */
function put(fn: string, tensor: Tensor, values: Float32Array): Tensor {
  const buffer = binding.upload(values, deviceNumber(tensor.device), values.length)
  copyInto(fn, tensor, buffer)
  binding.release(buffer)
  return tensor
}

/** Random numbers in (0, 1), from the generator that manualSeed sets. */
function uniforms(): () => number {
  const { seed, counter } = nextRandom()
  const next = generator(seed, counter)
  return () => (next() + 0.5) / 2 ** 32
}

/** Normal numbers (Box & Muller 1958). */
function normals(uniform: () => number): () => number {
  let spare: number | null = null
  return () => {
    if (spare !== null) {
      const value = spare
      spare = null
      return value
    }
    const radius = Math.sqrt(-2 * Math.log(uniform()))
    const angle = 2 * Math.PI * uniform()
    spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }
}

function checkMatrix(fn: string, tensor: Tensor): [rows: number, columns: number] {
  checkFloat(fn, 'tensor', tensor)
  const { shape } = tensor
  if (shape.length !== 2) throw rangeError(fn, 'tensor', 'two dimensions', formatShape(shape))
  return [shape[0] as number, shape[1] as number]
}

/** The identity, or its first rows and columns; as `init.eye_`. @param tensor `(rows, columns)` */
export function eye(tensor: Tensor): Tensor {
  const [rows, columns] = checkMatrix('eye', tensor)
  const values = float32s('eye', rows * columns)
  for (let i = 0; i < Math.min(rows, columns); i++) values[i * columns + i] = 1
  return put('eye', tensor, values)
}

/**
 * A convolution that hands its channels on, as far as there are enough; as `init.dirac_`.
 * @param tensor `(out, in / groups, kernel)`, with one to three dimensions of the kernel
 * @param groups of the convolution. Default 1
 */
export function dirac(tensor: Tensor, groups = 1): Tensor {
  const fn = 'dirac'
  checkFloat(fn, 'tensor', tensor)
  const { shape } = tensor
  if (shape.length < 3 || shape.length > 5)
    throw rangeError(fn, 'tensor', '3, 4 or 5 dimensions', formatShape(shape))
  const [out, channels, ...kernel] = shape as [number, number, ...number[]]
  checkInteger(fn, 'groups', groups, 1)
  if (out % groups !== 0)
    throw rangeError(fn, 'groups', `a divisor of ${out} channels`, String(groups))
  const field = numelOf(kernel)
  let middle = 0
  for (const size of kernel) middle = middle * size + Math.floor(size / 2)
  const values = float32s(fn, out * channels * field)
  const each = out / groups
  for (let g = 0; g < groups; g++)
    for (let i = 0; i < Math.min(each, channels); i++)
      if (field > 0) values[((g * each + i) * channels + i) * field + middle] = 1
  return put(fn, tensor, values)
}

/**
 * Normal, with zeros in a part of every column; as `init.sparse_`.
 * @param tensor `(rows, columns)`
 * @param sparsity the part of a column's elements that are 0
 */
export function sparse(tensor: Tensor, sparsity: number, std = 0.01): Tensor {
  const fn = 'sparse'
  const [rows, columns] = checkMatrix(fn, tensor)
  checkNumber(fn, 'sparsity', sparsity, 0, 1)
  checkNumber(fn, 'std', std, 0)
  const zeros = Math.ceil(sparsity * rows)
  const uniform = uniforms()
  const normal = normals(uniform)
  const values = float32s(fn, rows * columns)
  for (let i = 0; i < values.length; i++) values[i] = std * normal()
  const order = Array.from({ length: rows }, (_, i) => i)
  for (let column = 0; column < columns; column++) {
    for (let i = 0; i < zeros; i++) {
      const j = i + Math.floor(uniform() * (rows - i))
      ;[order[i], order[j]] = [order[j] as number, order[i] as number]
      values[(order[i] as number) * columns + column] = 0
    }
  }
  return put(fn, tensor, values)
}

/**
 * A random matrix with orthonormal rows or columns, whichever are fewer; as `init.orthogonal_`
 * (Saxe et al. 2014). For recurrent weights, `orthogonal` each gate: `weight.slice(0, 0, H)` shares
 * its memory. A matrix of n x n takes some n³ operations: a second or two for 1024.
 * @param tensor `(rows, …)`; further dimensions are taken as one
 * @param gain what it is multiplied by. Default 1
 * @throws TypeError, RangeError
 */
export function orthogonal(tensor: Tensor, gain = 1): Tensor {
  const fn = 'orthogonal'
  checkFloat(fn, 'tensor', tensor)
  checkNumber(fn, 'gain', gain)
  const { shape } = tensor
  if (shape.length < 2)
    throw rangeError(fn, 'tensor', 'at least two dimensions', formatShape(shape))
  if (tensor.numel === 0) return tensor
  const rows = shape[0] as number
  const columns = tensor.numel / rows
  const [fewer, more] = rows < columns ? [rows, columns] : [columns, rows]
  const normal = normals(uniforms())
  const vectors: Float64Array[] = []
  for (let i = 0; i < fewer; i++) {
    const vector = Float64Array.from({ length: more }, normal)
    // Random vectors are far enough from dependent for one pass (Gram and Schmidt, modified).
    for (const other of vectors) subtractProjection(vector, other)
    scale(vector, 1 / Math.sqrt(dot(vector, vector)))
    vectors.push(vector)
  }
  const values = float32s(fn, rows * columns)
  vectors.forEach((vector, i) => {
    for (let j = 0; j < more; j++)
      values[rows < columns ? i * columns + j : j * columns + i] = gain * (vector[j] as number)
  })
  return put(fn, tensor, values)
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number)
  return sum
}

function subtractProjection(vector: Float64Array, unit: Float64Array): void {
  const length = dot(vector, unit)
  for (let i = 0; i < vector.length; i++)
    vector[i] = (vector[i] as number) - length * (unit[i] as number)
}

function scale(vector: Float64Array, by: number): void {
  for (let i = 0; i < vector.length; i++) vector[i] = (vector[i] as number) * by
}

/** Normal, but drawn again where it is outside [a, b]; as `init.trunc_normal_`. @throws TypeError, RangeError */
export function truncNormal(tensor: Tensor, mean = 0, std = 1, a = -2, b = 2): Tensor {
  const fn = 'truncNormal'
  checkFloat(fn, 'tensor', tensor)
  checkNumber(fn, 'mean', mean)
  checkNumber(fn, 'std', std, 0)
  checkNumber(fn, 'a', a)
  checkNumber(fn, 'b', b, a)
  if (!(std > 0 && Number.isFinite(mean) && Number.isFinite(std)))
    throw rangeError(fn, 'std', 'a finite mean and a finite std above 0', `${mean} and ${std}`)
  const next = standardBetween((a - mean) / std, (b - mean) / std)
  const values = float32s(fn, tensor.numel)
  for (let i = 0; i < values.length; i++) values[i] = Math.min(b, Math.max(a, mean + std * next()))
  return put(fn, tensor, values)
}

/**
 * Standard normal numbers in [low, high], by rejection: of normal numbers, of even ones in a short
 * interval, of exponential ones in a tail (Robert 1995).
 */
function standardBetween(low: number, high: number): () => number {
  if (high < 0) {
    const mirrored = standardBetween(-high, -low)
    return () => -mirrored()
  }
  const uniform = uniforms()
  const until = (draw: () => number, accept: (x: number) => boolean) => () => {
    for (;;) {
      const x = draw()
      if (accept(x)) return x
    }
  }
  const nearest = Math.max(low, 0)
  // There the density falls by no more than a factor of e² within the interval.
  if (high * high - nearest * nearest < 4 && low * low - nearest * nearest < 4) {
    return until(
      () => low + (high - low) * uniform(),
      (x) => uniform() < Math.exp((nearest * nearest - x * x) / 2),
    )
  }
  if (low <= 0.5) return until(normals(uniform), (x) => x >= low && x <= high)
  const rate = (low + Math.sqrt(low * low + 4)) / 2
  return until(
    () => low - Math.log(uniform()) / rate,
    (x) => x <= high && uniform() < Math.exp(-((x - rate) ** 2) / 2),
  )
}
