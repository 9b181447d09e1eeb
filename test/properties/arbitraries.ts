/** What the properties draw: shapes, values, tensors. */
import fc from 'fast-check'
import { type Tensor, tensor } from 'fused-rnn'
import { randomValues } from '../helpers.js'
import { numel, type Values } from './reference.js'

/** Of up to `rank` dimensions, small; some are empty. */
export const shapes = (rank: number, most = 4): fc.Arbitrary<number[]> =>
  fc.array(fc.oneof({ arbitrary: fc.integer({ min: 1, max: most }), weight: 9 }, fc.constant(0)), {
    maxLength: rank,
  })

/** Dimensions, mostly of a tensor of this rank. */
export const dims = (rank: number): fc.Arbitrary<number> =>
  fc.integer({ min: -rank - 1, max: rank })

/** Shapes that mostly broadcast to the given one. */
export const broadcasting = (shape: readonly number[]): fc.Arbitrary<number[]> =>
  fc.oneof(
    { arbitrary: shapes(3), weight: 1 },
    {
      arbitrary: fc
        .tuple(
          fc.nat({ max: shape.length }),
          fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }),
        )
        .map(([from, ones]) => shape.map((n, d) => (ones[d] ? 1 : n)).slice(from)),
      weight: 5,
    },
  )

const SPECIAL = [NaN, Infinity, -Infinity, 0, -0, 1, -1, 2 ** 24, 1e30, -1e30, 1e-30, 3.4e38]
const WHOLE = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 2 ** 24 + 1]

/** Values in [low, high), from a seed: without the small ones and the repetitions that shrinking likes. */
export const smooth = (shape: readonly number[], low = -2, high = 2): fc.Arbitrary<Values> =>
  fc.nat().map((seed) => ({
    shape,
    dtype: 'float32' as const,
    data: [...randomValues(numel(shape), seed)].map((u) =>
      Math.fround(low + ((u + 1) / 2) * (high - low)),
    ),
  }))

/** The same with numbers among them that are special to arithmetic. */
export const special = (shape: readonly number[]): fc.Arbitrary<Values> =>
  fc
    .tuple(smooth(shape, -3, 3), fc.infiniteStream(fc.nat({ max: 3 * SPECIAL.length })))
    .map(([values, stream]) => ({
      ...values,
      data: values.data.map((value) => SPECIAL[stream.next().value as number] ?? value),
    }))

export const whole = (shape: readonly number[]): fc.Arbitrary<Values> =>
  fc
    .tuple(smooth(shape, -50, 50), fc.infiniteStream(fc.nat({ max: 5 * WHOLE.length })))
    .map(([values, stream]) => ({
      shape,
      dtype: 'int32' as const,
      data: values.data.map((value) => WHOLE[stream.next().value as number] ?? Math.round(value)),
    }))

/** Any of these. */
export const values = (shape: readonly number[]): fc.Arbitrary<Values> =>
  fc.oneof(smooth(shape), special(shape), whole(shape))

export function toTensor({ shape, dtype, data }: Values, requiresGrad = false): Tensor {
  const array = dtype === 'int32' ? Int32Array.from(data) : Float32Array.from(data)
  return tensor(array, { shape, dtype, requiresGrad })
}

export async function fromTensor(x: Tensor): Promise<Values> {
  return { shape: x.shape, dtype: x.dtype, data: [...(await x.data())] }
}
