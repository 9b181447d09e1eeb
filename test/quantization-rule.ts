/** The rule of int8 weights (docs/quantization.md) in plain JavaScript. */
import type { Tensor } from 'fused-rnn'

const f = Math.fround
const LEAST = 2 ** -126

/** To the nearest whole number, even on a tie. */
function nearest(x: number): number {
  const low = Math.floor(x)
  if (x - low !== 0.5) return Math.round(x)
  return low % 2 === 0 ? low : low + 1
}
const within = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high)

export interface Row {
  q: number[]
  scale: number
  zero: number
}

function scaleOf(step: number): { scale: number; inverse: number } {
  const scale = f(step) < LEAST ? 0 : f(step)
  return { scale, inverse: scale > 0 ? f(1 / scale) : 0 }
}

function quantizedInput(row: ArrayLike<number>): Row {
  const values = Array.from(row)
  if (!values.every(Number.isFinite)) return { q: values.map(() => 0), scale: Number.NaN, zero: 0 }
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)]
  const { scale, inverse } = scaleOf((high - low) / 255)
  const zero = within(nearest(f(-low * inverse)), 0, 255)
  return { q: values.map((x) => within(nearest(f(x * inverse)) + zero, 0, 255)), scale, zero }
}

export function quantizedWeight(row: ArrayLike<number>): Row {
  const values = Array.from(row)
  if (!values.every(Number.isFinite)) return { q: values.map(() => 0), scale: Number.NaN, zero: 0 }
  const { scale, inverse } = scaleOf(Math.max(...values.map(Math.abs)) / 127)
  return { q: values.map((w) => within(nearest(f(w * inverse)), -127, 127)), scale, zero: 0 }
}

export function rowsOf(values: ArrayLike<number>, width: number): number[][] {
  const all = Array.from(values)
  return Array.from({ length: all.length / width }, (_, r) => all.slice(r * width, (r + 1) * width))
}

/** x [M, I] times w [O, I]^T, plus b. */
export function product(
  x: readonly number[][],
  w: readonly number[][],
  b: ArrayLike<number> | null,
): number[][] {
  const weights = w.map(quantizedWeight)
  return x.map(quantizedInput).map((row) =>
    weights.map((weight, o) => {
      let sum = 0
      for (let i = 0; i < row.q.length; i++)
        sum += ((row.q[i] as number) - row.zero) * (weight.q[i] as number)
      const value = f(f(sum) * f(row.scale * weight.scale))
      return b === null ? value : f(value + (b[o] as number))
    }),
  )
}

export const array = async (x: Tensor): Promise<number[]> => Array.from(await x.data())
/** -0 and 0 are one number. */
export const plain = (values: Iterable<number>): number[] => Array.from(values, (x) => x + 0)
