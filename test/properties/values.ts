/** Values and gradients of every operation, beside the reference's. */
import fc from 'fast-check'
import { synchronize, type Tensor, zeros } from 'fused-rnn'
import { randomValues } from '../helpers.js'
import * as draw from './arbitraries.js'
import { indexing } from './indexing.js'
import { layouts, products } from './layouts.js'
import { losses } from './losses.js'
import { type Call, elementwise, type Operation, reductions } from './operations.js'
import { difference, numel, Refused, type Values } from './reference.js'
import { isRefusal, type Property } from './run.js'

const operations: Operation[] = [
  ...elementwise,
  ...reductions,
  ...indexing,
  ...layouts,
  ...products,
  ...losses,
]
const TOLERANCE = 2e-5

/** What the reference gives, or null where the library has to refuse. */
function expected(call: Call): Values | null {
  try {
    return call.theirs(...call.inputs)
  } catch (error) {
    if (error instanceof Refused) return null
    throw error
  }
}

function text({ text, inputs }: Call): string {
  const arrays = inputs.map(({ shape, dtype, data }) => `${dtype} [${shape}]: ${data.join(' ')}`)
  return `${text} of ${arrays.join('; ')}`
}

/** The library's result, or null if it refused. */
function called(call: Call, tensors: Tensor[]): Tensor | null {
  try {
    return call.ours(...tensors)
  } catch (error) {
    if (isRefusal(error)) return null
    throw error
  }
}

async function sameValues(call: Call): Promise<void> {
  const wanted = expected(call)
  const result = called(
    call,
    call.inputs.map((values) => draw.toTensor(values)),
  )
  if (wanted === null || result === null) {
    if (wanted === null && result === null) return
    throw new Error(`${wanted === null ? 'not refused' : 'refused'}: ${text(call)}`)
  }
  const found = difference(await draw.fromTensor(result), wanted, TOLERANCE)
  if (found !== null) throw new Error(`${found}: ${text(call)}`)
}

const STEP = 1e-4

/**
 * Central differences of the reference, which is exact enough for such a step; null at a kink, as
 * where two numbers are nearly the largest.
 */
function slope(call: Call, weights: Float32Array, input: number, element: number): number | null {
  const at = (by: number): number => {
    const moved = call.inputs.map((values, i) =>
      i === input
        ? { ...values, data: values.data.with(element, (values.data[element] as number) + by) }
        : values,
    )
    return call.theirs(...moved).data.reduce((total, y, k) => total + y * (weights[k] as number), 0)
  }
  const [below, here, above] = [at(-STEP), at(0), at(STEP)]
  const bend = Math.abs(above - 2 * here + below) / STEP
  return bend > 0.01 * Math.max(1, Math.abs(here)) ? null : (above - below) / (2 * STEP)
}

async function sameGradients(call: Call, seed: number): Promise<void> {
  const wanted = expected(call)
  if (wanted === null || !wanted.data.every(Number.isFinite)) return
  const weights = randomValues(numel(wanted.shape), seed)
  const inputs = call.inputs.map((values) => draw.toTensor(values, true))
  const result = call.ours(...inputs)
  result.backward(draw.toTensor({ shape: result.shape, dtype: 'float32', data: [...weights] }))
  await synchronize()
  for (const [i, input] of inputs.entries()) {
    const gradient = await draw.fromTensor(input.grad ?? zeros(input.shape))
    const exact = Float32Array.from(
      (call.inputs[i] as Values).data,
      (_, k) => slope(call, weights, i, k) ?? (gradient.data[k] as number),
    )
    const found = difference(gradient, { ...gradient, data: [...exact] }, 1e-3)
    if (found !== null) throw new Error(`gradient ${i}: ${found}: ${text(call)}`)
  }
}

export const valueProperties: Property[] = operations.map(({ name, calls }) => ({
  name,
  property: fc.asyncProperty(calls, sameValues),
}))

export const gradientProperties: Property[] = operations.flatMap(({ name, smooth }) =>
  smooth === undefined
    ? []
    : [
        {
          name: `gradient of ${name}`,
          share: 0.5,
          property: fc.asyncProperty(smooth, fc.nat(), sameGradients),
        },
      ],
)
