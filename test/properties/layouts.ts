/** Other shapes and orders, joins and products; see operations.ts. */
import fc from 'fast-check'
import { cat, nn, stack, type Tensor } from 'fused-rnn'
import * as draw from './arbitraries.js'
import { type Call, type Draw, none, type Operation, one } from './operations.js'
import type { Values } from './reference.js'
import * as ref from './reference.js'

const bounds = fc.oneof(fc.integer({ min: -6, max: 6 }), fc.constantFrom(0, 1, 2 ** 40))

function sliced(x: Values, dim: number, start: number, end: number): Values {
  if (x.shape.length === 0) ref.refuse('a number')
  const d = ref.dimOf(dim, x.shape.length)
  const size = x.shape[d] as number
  const bound = (n: number): number => Math.min(Math.max(n < 0 ? n + size : n, 0), size)
  const begin = bound(start)
  const count = Math.max(bound(end) - begin, 0)
  return ref.build(
    x.shape.with(d, count),
    (index) => ref.at(x, index.with(d, (index[d] as number) + begin)),
    x.dtype,
  )
}

const joinable = fc
  .tuple(draw.shapes(3, 3), fc.integer({ min: -4, max: 3 }))
  .chain(([shape, dim]) =>
    fc
      .array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 19 })), { minLength: 1, maxLength: 4 })
      .map((sizes) => ({ shape, dim, sizes })),
  )

/** Some tensors with shapes that fit but in one dimension, and now and then do not. */
function joins(values: Draw, name: 'cat' | 'stack'): fc.Arbitrary<Call> {
  return joinable.chain(({ shape, dim, sizes }) => {
    const d = dim < 0 ? dim + shape.length : dim
    const parts = sizes.map(([size, odd]) => {
      if (odd === 0) return [...shape, 1]
      return name === 'cat' && d in shape ? shape.with(d, size) : shape
    })
    return fc.tuple(...parts.map((part) => values(part))).map((inputs) => ({
      text: `${name}(…, ${dim})`,
      inputs,
      ours: (...tensors) => (name === 'cat' ? cat(tensors, dim) : stack(tensors, dim)),
      theirs: (...tensors) => joined(name, tensors, dim),
    }))
  })
}

function joined(name: 'cat' | 'stack', parts: Values[], dim: number): Values {
  const { dtype, shape: first } = parts[0] as Values
  const fits = (x: Values): boolean =>
    x.dtype === dtype &&
    x.shape.length === first.length &&
    x.shape.every((n, k) => k === d || n === first[k])
  const d = ref.dimOf(dim, first.length + (name === 'stack' ? 1 : 0))
  if (name === 'stack') {
    if (!parts.every((x) => x.dtype === dtype && String(x.shape) === String(first)))
      ref.refuse('shapes')
    return ref.build(
      first.toSpliced(d, 0, parts.length),
      (index) => ref.at(parts[index[d] as number] as Values, index.toSpliced(d, 1)),
      dtype,
    )
  }
  if (first.length === 0 || !parts.every(fits)) ref.refuse('shapes')
  const sources = parts.flatMap((x) =>
    Array.from({ length: x.shape[d] as number }, (_, i) => [x, i] as const),
  )
  return ref.build(
    first.with(d, sources.length),
    (index) => {
      const [x, i] = sources[index[d] as number] as readonly [Values, number]
      return ref.at(x, index.with(d, i))
    },
    dtype,
  )
}

export const layouts: Operation[] = [
  one(
    'reshape',
    (shape) =>
      fc.tuple(
        fc.oneof(
          fc.shuffledSubarray([...shape, -1, 1], { minLength: 0, maxLength: shape.length + 2 }),
          fc.constant([ref.numel(shape)]),
          fc.constant([-1]),
        ),
      ),
    (x, shape) => x.reshape(shape),
    (x, shape) => {
      if (shape.filter((n) => n === -1).length > 1) ref.refuse('two open sizes')
      const known = ref.numel(shape.filter((n) => n !== -1))
      const open = shape.includes(-1)
      if (open && (known === 0 || x.data.length % known !== 0)) ref.refuse('open size')
      const sizes = shape.map((n) => (n === -1 ? x.data.length / known : n))
      if (ref.numel(sizes) !== x.data.length) ref.refuse('count')
      return { ...x, shape: sizes }
    },
  ),
  one(
    'unsqueeze',
    (shape) => fc.tuple(draw.dims(shape.length + 1)),
    (x, dim) => x.unsqueeze(dim),
    (x, dim) => ({ ...x, shape: x.shape.toSpliced(ref.dimOf(dim, x.shape.length + 1), 0, 1) }),
  ),
  one(
    'squeeze',
    (shape) => fc.tuple(fc.option(draw.dims(shape.length), { nil: undefined })),
    (x, dim) => x.squeeze(dim),
    (x, dim) => {
      const d = dim === undefined ? null : ref.dimOf(dim, x.shape.length)
      return { ...x, shape: x.shape.filter((n, k) => n !== 1 || (d !== null && d !== k)) }
    },
  ),
  one(
    'expand',
    (shape) =>
      fc.tuple(
        fc
          .tuple(fc.array(fc.nat({ max: 3 }), { maxLength: 2 }), fc.array(fc.nat({ max: 3 })))
          .map(([before, sizes]) => [
            ...before,
            ...shape.map((n, d) => (n === 1 ? (sizes[d] ?? n) : sizes[d] === 0 ? -1 : n)),
          ]),
      ),
    (x, shape) => x.expand(shape),
    (x, shape) => {
      const extra = shape.length - x.shape.length
      const sizes = shape.map((n, d) => (n === -1 ? (x.shape[d - extra] ?? ref.refuse('-1')) : n))
      return ref.build(sizes, (index) => ref.broadcastAt(x, index), x.dtype)
    },
    { shape: fc.array(fc.constantFrom(1, 1, 2, 3), { maxLength: 3 }) },
  ),
  one(
    'transpose',
    (shape) => fc.tuple(draw.dims(shape.length), draw.dims(shape.length)),
    (x, a, b) => x.transpose(a, b),
    (x, a, b) => {
      const [i, j] = [ref.dimOf(a, x.shape.length), ref.dimOf(b, x.shape.length)]
      return permuted(
        x,
        x.shape.map((_, d) => (d === i ? j : d === j ? i : d)),
      )
    },
  ),
  one(
    'permute',
    (shape) =>
      fc.tuple(
        fc.oneof(
          fc.shuffledSubarray([...shape.keys()], { minLength: shape.length }),
          fc.array(draw.dims(shape.length), { maxLength: 4 }),
        ),
      ),
    (x, order) => x.permute(order),
    (x, order) => {
      const list = order.map((dim) => ref.dimOf(dim, x.shape.length))
      if (list.length !== x.shape.length || new Set(list).size !== list.length) ref.refuse('order')
      return permuted(x, list)
    },
  ),
  one(
    't',
    none,
    (x) => x.t(),
    (x) => {
      if (x.shape.length > 2) ref.refuse('rank')
      return x.shape.length === 2 ? permuted(x, [1, 0]) : x
    },
    { shape: draw.shapes(3) },
  ),
  one(
    'flip',
    (shape) => fc.tuple(fc.array(draw.dims(shape.length), { maxLength: shape.length })),
    (x, dims) => x.flip(dims),
    (x, dims) => {
      const list = dims.map((dim) => ref.dimOf(dim, x.shape.length))
      return ref.build(
        x.shape,
        (index) =>
          ref.at(
            x,
            index.map((i, d) => (list.includes(d) ? (x.shape[d] as number) - 1 - i : i)),
          ),
        x.dtype,
      )
    },
  ),
  one(
    'slice',
    (shape) => fc.tuple(draw.dims(shape.length), bounds, bounds),
    (x, dim, start, end) => x.slice(dim, start, end),
    sliced,
  ),
  one(
    'select',
    (shape) => fc.tuple(draw.dims(shape.length), fc.integer({ min: -4, max: 4 })),
    (x, dim, index) => x.select(dim, index),
    (x, dim, index) => {
      if (x.shape.length === 0) ref.refuse('a number')
      const d = ref.dimOf(dim, x.shape.length)
      const size = x.shape[d] as number
      if (index < -size || index >= size) ref.refuse('index')
      const i = index < 0 ? index + size : index
      const row = sliced(x, d, i, i + 1)
      return { ...row, shape: row.shape.toSpliced(d, 1) }
    },
  ),
  ...(['cat', 'stack'] as const).map((name) => ({
    name,
    calls: joins(draw.values, name),
    smooth: joins(draw.smooth, name),
  })),
]

function permuted(x: Values, order: readonly number[]): Values {
  return ref.build(
    order.map((d) => x.shape[d] as number),
    (index) =>
      ref.at(
        x,
        order.map((_, d) => index[order.indexOf(d)] as number),
      ),
    x.dtype,
  )
}

// ---- Products and rows -----------------------------------------------------------------------------

const sizes = fc.nat({ max: 5 })

/** Two factors of a product: mostly of shapes that fit. */
function factors(values: Draw): fc.Arbitrary<Call> {
  const fitting = fc
    .tuple(draw.shapes(2, 3), sizes, sizes, sizes, fc.nat({ max: 5 }))
    .chain(([batch, m, k, n, kind]) =>
      draw.broadcasting(batch).map((other): [number[], number[]] => {
        if (kind === 0) return [[k], [...other, k, n]]
        if (kind === 1) return [[...batch, m, k], [k]]
        return [
          [...batch, m, k],
          [...other, k, n],
        ]
      }),
    )
  const any = fc.tuple(draw.shapes(3), draw.shapes(3))
  return fc.oneof({ arbitrary: fitting, weight: 6 }, any).chain(([a, b]) =>
    fc.tuple(values(a), values(b)).map((inputs) => ({
      text: 'matmul',
      inputs,
      ours: (x, y) => x.matmul(y as Tensor),
      theirs: (x, y) => ref.matmul(x, y as Values),
    })),
  )
}

/** [..., I] · [O, I]ᵀ + [O] */
function linears(values: Draw): fc.Arbitrary<Call> {
  return fc
    .tuple(draw.shapes(2), sizes, sizes, fc.nat({ max: 9 }), fc.boolean())
    .chain(([batch, inputs, outputs, odd, bias]) =>
      fc
        .tuple(
          values([...batch, odd === 0 ? inputs + 1 : inputs]),
          values([outputs, inputs]),
          ...(bias ? [values([odd === 1 ? outputs + 1 : outputs])] : []),
        )
        .map((list) => ({
          text: 'linear',
          inputs: list,
          ours: (x, w, b) => nn.functional.linear(x, w as Tensor, b ?? null),
          theirs: (x, w, b) => {
            if (list.some(({ dtype }) => dtype === 'int32')) ref.refuse('int32')
            if (b && b.shape[0] !== outputs) ref.refuse('bias')
            const product = ref.matmul(x, permuted(w as Values, [1, 0]))
            return b ? ref.binary('add', product, b) : product
          },
        })),
    )
}

/** Rows by index, all of them there; test/gather.test.ts has those that are not. */
function rows(values: Draw): fc.Arbitrary<Call> {
  return fc
    .tuple(draw.shapes(3, 3), fc.integer({ min: -3, max: 2 }), fc.array(fc.nat()))
    .chain(([shape, dim, list]) => {
      const d = dim < 0 ? dim + shape.length : dim
      const size = shape[d] ?? 0
      const index = size === 0 ? [] : list.map((i) => i % size)
      return values(shape).map((x) => ({
        text: `indexSelect(${dim}, [${index}])`,
        inputs: [x],
        ours: (t) =>
          t.indexSelect(dim, draw.toTensor({ shape: [index.length], dtype: 'int32', data: index })),
        theirs: (t) => {
          if (!(d in shape)) ref.refuse('dimension')
          const to = shape.with(d, index.length)
          return ref.build(
            to,
            (at) => ref.at(t, at.with(d, index[at[d] as number] as number)),
            t.dtype,
          )
        },
      }))
    })
}

export const products: Operation[] = [
  { name: 'matmul', calls: factors(moderateFloats), smooth: factors(draw.smooth) },
  { name: 'linear', calls: linears(moderateFloats), smooth: linears(draw.smooth) },
  { name: 'indexSelect', calls: rows(draw.values), smooth: rows(draw.smooth) },
]

/** Mostly float32, without infinities, which products turn into NaN in an order of their own. */
function moderateFloats(shape: readonly number[]): fc.Arbitrary<Values> {
  return fc.oneof(
    { arbitrary: draw.smooth(shape), weight: 9 },
    { arbitrary: draw.whole(shape), weight: 1 },
  )
}
