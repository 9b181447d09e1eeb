/**
 * What the tests share: the device they run on, fixtures, comparing numbers, finite differences,
 * error checks. Every test file imports this one.
 */
import { readFileSync } from 'node:fs'
import type { ExecutionContext } from 'ava'
import { autograd, backends, devices, type nn, setDefaultDevice, Tensor, tensor } from 'fused-rnn'
import { type Finished, run } from './limits.js'

// ---- The device ------------------------------------------------------------------------------------

/** Where tests make their tensors: FUSED_RNN_TEST_DEVICE=cuda:0 runs them all on a GPU. */
export const testDevice = process.env.FUSED_RNN_TEST_DEVICE || 'cpu'
/** Some tests are about the CPU alone: `(onCpu ? test : test.skip)(…)`. */
export const onCpu = testDevice === 'cpu'

/** The GPU is native/cuda_host, which is slow: tests take less of what they only have much of. */
export const emulated = !onCpu && devices()[1]?.description === 'CUDA on the host'

setDefaultDevice(testDevice)
// The tolerances are those of float32.
backends.cuda.rnn.fp32Precision = 'ieee'

/** The same for a script that imports fused-rnn as a namespace of this name. */
export const chooseDevice = (library: string): string =>
  `${library}.setDefaultDevice('${testDevice}'); ${library}.backends.cuda.rnn.fp32Precision = 'ieee';`

// ---- Fixtures --------------------------------------------------------------------------------------

/** Values of a fixture, with a shape. */
export interface FixtureArray {
  shape: number[]
  dtype: 'float32' | 'int32' | 'bool'
  data: Float32Array | Int32Array | Uint8Array
}

export interface Fixture {
  names: string[]
  has(name: string): boolean
  array(name: string): FixtureArray
  /** The same as a tensor of the library. */
  tensor(name: string, options?: { requiresGrad?: boolean }): Tensor
  /** Every entry under `prefix.` as tensors, named without it: a state dict. */
  tensors(prefix: string): Map<string, Tensor>
  /** The JSON that the fixture's script put beside the numbers. */
  // biome-ignore lint/suspicious/noExplicitAny: the scripts decide what is in it
  info: any
}

/**
 * Reads test/fixtures/`name`.safetensors (8-byte header length, JSON header, raw data), without the
 * library under test. Scripts put an index of their cases into the header's metadata, as JSON, under
 * the key `info`.
 */
export function fixture(name: string): Fixture {
  const file = readFileSync(new URL(`../test/fixtures/${name}.safetensors`, import.meta.url))
  const headerBytes = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes))
  const metadata = header.__metadata__ ?? {}
  delete header.__metadata__
  const array = (key: string): FixtureArray => {
    const entry = header[key]
    if (entry === undefined) throw new Error(`fixture ${name} has no '${key}'`)
    const [begin, end] = entry.data_offsets
    const bytes = file.buffer.slice(
      file.byteOffset + 8 + headerBytes + begin,
      file.byteOffset + 8 + headerBytes + end,
    )
    if (entry.dtype === 'F32')
      return { shape: entry.shape, dtype: 'float32', data: new Float32Array(bytes) }
    if (entry.dtype === 'I32')
      return { shape: entry.shape, dtype: 'int32', data: new Int32Array(bytes) }
    if (entry.dtype === 'BOOL')
      return { shape: entry.shape, dtype: 'bool', data: new Uint8Array(bytes) }
    throw new Error(`fixture ${name}: '${key}' is ${entry.dtype}; write float32, int32 or bool`)
  }
  const asTensor = (key: string, options = {}): Tensor => {
    const { data, shape, dtype } = array(key)
    return tensor(data, { shape, dtype, ...options })
  }
  const names = Object.keys(header)
  return {
    names,
    has: (key) => key in header,
    array,
    tensor: asTensor,
    tensors: (prefix) =>
      new Map(
        names
          .filter((key) => key.startsWith(`${prefix}.`))
          .map((key) => [key.slice(prefix.length + 1), asTensor(key)]),
      ),
    info: metadata.info === undefined ? {} : JSON.parse(metadata.info),
  }
}

// ---- Comparing -------------------------------------------------------------------------------------

export type Numbers = Tensor | FixtureArray | ArrayLike<number>

async function valuesOf(
  numbers: Numbers,
): Promise<{ data: ArrayLike<number>; shape: readonly number[] | null }> {
  if (numbers instanceof Tensor) return { data: await numbers.data(), shape: numbers.shape }
  if ('data' in numbers) return { data: numbers.data, shape: numbers.shape }
  return { data: numbers, shape: null }
}

/**
 * Asserts |actual − expected| ≤ tolerance · max(1, |expected|) for every element, and equal shapes
 * where both have one. On failure says how large the largest difference is, and where.
 */
export async function closeTo(
  t: ExecutionContext,
  actual: Numbers | null | undefined,
  expected: Numbers,
  tolerance: number,
  what = 'values',
): Promise<void> {
  if (actual === null || actual === undefined) {
    t.fail(`${what}: expected numbers, got ${actual}`)
    return
  }
  const a = await valuesOf(actual)
  const e = await valuesOf(expected)
  if (a.shape && e.shape) t.deepEqual([...a.shape], [...e.shape], `${what}: shape`)
  if (a.data.length !== e.data.length) {
    t.fail(`${what}: expected ${e.data.length} elements, got ${a.data.length}`)
    return
  }
  let worst = -1
  let worstExcess = 0
  for (let i = 0; i < a.data.length; i++) {
    const x = a.data[i] as number
    const y = e.data[i] as number
    if (Object.is(x, y)) continue
    const excess = Math.abs(x - y) / Math.max(1, Math.abs(y))
    if (!(excess <= worstExcess)) {
      worst = i
      worstExcess = Number.isNaN(excess) ? Infinity : excess
    }
  }
  if (worstExcess <= tolerance) {
    t.pass()
    return
  }
  const shape = a.shape ?? e.shape ?? [a.data.length]
  t.fail(
    `${what}: largest difference ${worstExcess} (allowed ${tolerance}) at [${indexOf(worst, shape)}]: got ${a.data[worst]}, expected ${e.data[worst]}`,
  )
}

function indexOf(flat: number, shape: readonly number[]): string {
  const index: number[] = []
  let rest = flat
  for (let d = shape.length - 1; d >= 0; d--) {
    const size = shape[d] as number
    index.unshift(rest % size)
    rest = Math.floor(rest / size)
  }
  return index.join(', ')
}

// ---- Random numbers of the tests' own --------------------------------------------------------------

/** Numbers in [−1, 1), the same for the same seed (mulberry32). */
export function randomValues(count: number, seed: number): Float32Array {
  let state = seed | 0
  return Float32Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x ^= x + Math.imul(x ^ (x >>> 7), 61 | x)
    return (((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * 2 - 1
  })
}

export function randomTensor(
  shape: readonly number[],
  seed: number,
  options: { requiresGrad?: boolean } = {},
): Tensor {
  return tensor(
    randomValues(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    { shape, ...options },
  )
}

// ---- Finite differences ----------------------------------------------------------------------------

export interface GradcheckOptions {
  /** Step. The default suits float32 and smooth functions of numbers around 1; take less near kinks. */
  eps?: number
  tol?: number
  /** Only every n-th element of each input is checked; default 1. Where kernels are emulated, few are. */
  stride?: number
  /** A module whose parameters `f` uses: their gradients are checked too. */
  module?: nn.Module
}

/**
 * Compares backward() with central finite differences (four points, so that the step can be large
 * enough for float32). The outputs are projected on fixed random vectors, in double precision.
 * @param f pure: the same inputs give the same outputs
 * @param inputs leaves; the gradients of those with requiresGrad are checked
 */
export async function gradcheck(
  t: ExecutionContext,
  f: (...inputs: Tensor[]) => Tensor | Tensor[],
  inputs: Tensor[],
  options: GradcheckOptions = {},
): Promise<void> {
  const { eps = 1e-2, tol = 1e-3, stride = 1, module } = options
  const run = async (changed: Tensor[]): Promise<Tensor[]> => {
    const outputs = f(...changed)
    return Array.isArray(outputs) ? outputs : [outputs]
  }
  for (const input of [...inputs, ...(module?.parameters() ?? [])]) input.grad = null
  const outputs = await run(inputs)
  const projections = outputs.map((output, k) => randomValues(output.numel, 12345 + k))
  const vectors = outputs.map((output, k) =>
    tensor(projections[k] as Float32Array, { shape: output.shape }),
  )
  if (outputs.length === 1) (outputs[0] as Tensor).backward(vectors[0])
  else projected(outputs, vectors).backward()

  const value = async (changed: Tensor[]): Promise<number> => {
    let total = 0
    for (const [k, output] of (await run(changed)).entries()) {
      const values = await output.data()
      for (let i = 0; i < values.length; i++)
        total += (values[i] as number) * (projections[k]?.[i] as number)
    }
    return total
  }
  const check = async (
    what: string,
    leaf: Tensor,
    at: (moved: Tensor) => Promise<number>,
  ): Promise<void> => {
    const values = (await leaf.data()) as Float32Array
    const difference = async (i: number, step: number): Promise<number> => {
      const both = [step, -step].map(async (by) => {
        const moved = values.slice()
        moved[i] = (values[i] as number) + by
        return at(tensor(moved, { shape: leaf.shape }))
      })
      return ((await both[0]) as number) - ((await both[1]) as number)
    }
    // All are checked on the CPU. What the GPU makes of each element, the fixtures tell.
    const every = emulated ? Math.max(stride, Math.ceil(values.length / 3)) : stride
    const indices = Array.from(values.keys()).filter((i) => i % every === 0)
    const expected = new Float32Array(indices.length)
    for (const [k, i] of indices.entries()) {
      expected[k] = (8 * (await difference(i, eps)) - (await difference(i, 2 * eps))) / (12 * eps)
    }
    const gradient = await leaf.grad?.data()
    await closeTo(
      t,
      gradient && Float32Array.from(indices, (i) => gradient[i] as number),
      expected,
      tol,
      `gradient of ${what}`,
    )
  }
  for (const [which, input] of inputs.entries()) {
    if (!input.requiresGrad) continue
    await check(`input ${which}`, input, (moved) =>
      value(inputs.map((other, k) => (k === which ? moved : other))),
    )
  }
  for (const [name, parameter] of module?.namedParameters() ?? []) {
    const original = new Map([
      [name, tensor((await parameter.data()) as Float32Array, { shape: parameter.shape })],
    ])
    await check(name, parameter, (moved) => {
      module?.loadStateDict(new Map([[name, moved]]), { strict: false })
      const result = value(inputs)
      module?.loadStateDict(original, { strict: false })
      return result
    })
  }
}

/**
 * Compares the gradients of gradients (`createGraph`) with finite differences of gradients.
 * @param f as for gradcheck
 * @param inputs leaves; those with requiresGrad are differentiated by, twice
 */
export async function gradgradcheck(
  t: ExecutionContext,
  f: (...inputs: Tensor[]) => Tensor | Tensor[],
  inputs: Tensor[],
  options: Omit<GradcheckOptions, 'module'> = {},
): Promise<void> {
  const chosen = inputs.map((input) => input.requiresGrad)
  const outputsOf = (given: Tensor[]): Tensor[] => {
    const made = f(...given)
    return Array.isArray(made) ? made : [made]
  }
  const vectors = outputsOf(inputs).map((output, k) =>
    randomTensor(output.shape, 777 + k, { requiresGrad: true }),
  )
  const gradients = (...all: Tensor[]): Tensor[] => {
    const given = all.slice(0, inputs.length)
    given.forEach((input, i) => {
      if (chosen[i]) input.requiresGrad = true
    })
    return autograd
      .grad(
        outputsOf(given),
        given.filter((_, i) => chosen[i]),
        { gradOutputs: all.slice(inputs.length), createGraph: true, allowUnused: true },
      )
      .filter((gradient) => gradient?.requiresGrad) as Tensor[]
  }
  await gradcheck(t, gradients, [...inputs, ...vectors], options)
}

/** Sum over all outputs of output · vector: one scalar whose gradients are the vectors. */
export function projected(outputs: readonly Tensor[], vectors: readonly Tensor[]): Tensor {
  const [first, ...rest] = outputs.map((output, k) => output.mul(vectors[k] as Tensor).sum())
  return rest.reduce((a, b) => a.add(b), first as Tensor)
}

// ---- Errors ----------------------------------------------------------------------------------------

type ErrorClass = new (...args: never[]) => Error

/** Asserts that `f` throws this kind of error with a message that matches. */
export function throwsWith(
  t: ExecutionContext,
  f: () => unknown,
  kind: ErrorClass,
  message: RegExp,
): void {
  const error = t.throws(f, { any: true }) as Error | undefined
  if (error === undefined) return
  t.true(error instanceof kind, `expected a ${kind.name}, got ${error}`)
  t.regex(String(error?.message), message)
}

/** The same for a promise. */
export async function rejectsWith(
  t: ExecutionContext,
  promise: Promise<unknown>,
  kind: ErrorClass,
  message: RegExp,
): Promise<void> {
  const error = (await t.throwsAsync(promise, { any: true })) as Error | undefined
  if (error === undefined) return
  t.true(error instanceof kind, `expected a ${kind.name}, got ${error}`)
  t.regex(String(error?.message), message)
}

// ---- Other processes -------------------------------------------------------------------------------

export type { Finished } from './limits.js'
export { limit, sanitized } from './limits.js'

/** Runs an ES module in a Node process of its own, in the package's folder, on the tests' device. */
export function runScript(
  source: string,
  options: { env?: Record<string, string>; flags?: string[]; limitSeconds?: number } = {},
): Promise<Finished> {
  const device = onCpu ? '' : `import * as $library from 'fused-rnn'; ${chooseDevice('$library')}\n`
  return run(
    process.execPath,
    [...(options.flags ?? []), '--input-type=module', '--eval', device + source],
    {
      cwd: new URL('..', import.meta.url),
      env: { ...process.env, ...options.env },
      ...(options.limitSeconds !== undefined && { limitSeconds: options.limitSeconds }),
    },
  )
}
