import test from 'ava'
import { type AtItem, einsum, type Tensor, tensor, zeros } from 'fused-rnn'
import { cases, type Sides } from './cases.js'
import { closeTo, fixture, gradgradcheck, randomTensor, throwsWith } from './helpers.js'

type T = Tensor

// ---- Pieces ----------------------------------------------------------------------------------------

cases(
  'pieces',
  {
    split: (x: T) => x.split(2, 1),
    'split sizes': (x: T) => x.split([1, 0, 3]),
    'split -1': (x: T) => x.split(3, -1),
    chunk: (x: T) => x.chunk(3),
    'chunk 1': (x: T) => x.chunk(4, 1),
    unbind: (x: T) => x.unbind(),
    'unbind 1': (x: T) => x.unbind(1),
    narrow: (x: T) => x.narrow(1, -3, 2),
  },
  'indexing',
)

test('pieces: the gradients of all pieces come together', async (t) => {
  const x = randomTensor([2, 5], 1, { requiresGrad: true })
  const [a, , c] = x.split(2, 1) as [T, T, T]
  a.mul(2).sum().add(c.mul(3).sum()).backward()
  await closeTo(t, x.grad, [2, 2, 0, 0, 3, 2, 2, 0, 0, 3], 0)
})

test('pieces: errors', (t) => {
  const x = zeros([2, 5])
  throwsWith(t, () => x.split([2, 2], 1), RangeError, /\[split\] size: expected sizes that add up/)
  throwsWith(
    t,
    () => x.split(0),
    RangeError,
    /\[split\] size: expected a whole number of at least 1/,
  )
  throwsWith(
    t,
    () => x.split('2' as never),
    TypeError,
    /\[split\] size: expected a whole number or/,
  )
  throwsWith(t, () => x.chunk(0), RangeError, /\[chunk\] chunks/)
  throwsWith(t, () => x.unbind(2), RangeError, /\[unbind\] dim/)
  throwsWith(t, () => zeros([]).unbind(), RangeError, /\[unbind\] tensor: expected at least one/)
  throwsWith(t, () => x.narrow(1, 3, 3), RangeError, /\[narrow\] length: expected at most 2/)
  throwsWith(t, () => x.narrow(1, 6, 0), RangeError, /\[narrow\] start/)
})

// ---- Repeated, rolled, parts of matrices -----------------------------------------------------------

const repeat: Sides = {
  repeat: (x: T) => x.repeat([2, 3]),
  'repeat new dims': (x: T) => x.repeat([2, 1, 3, 1]),
  'repeat one': (x: T) => x.repeat([1, 1]),
  'repeat many': (x: T) => x.repeat([2, 3, 2, 2, 2, 2]),
  'repeat nothing': (x: T) => x.repeat([0, 2]),
  'repeat number': (x: T) => x.repeat([3]),
  'repeat ints': (x: T) => x.repeat([2, 2]),
  repeatInterleave: (x: T) => x.repeatInterleave(2),
  'repeatInterleave 1': (x: T) => x.repeatInterleave(3, 1),
  'repeatInterleave each': (x: T) => x.repeatInterleave([2, 0, 3], 0),
  roll: (x: T) => x.roll(3),
  'roll 1': (x: T) => x.roll(-1, 1),
  'roll dims': (x: T) => x.roll([1, 7], [0, 2]),
  'diagonal dims': (x: T) => x.diagonal(1, 2, 0),
  'diag matrix': (x: T) => x.diag(-1),
  flatten: (x: T) => x.flatten(),
  'flatten dims': (x: T) => x.flatten(1, 2),
  'flatten number': (x: T) => x.flatten(),
  unflatten: (x: T) => x.unflatten(1, [2, -1]),
  movedim: (x: T) => x.movedim(0, -1),
  'movedim two': (x: T) => x.movedim([2, 0], [0, 1]),
}
for (const op of ['tril', 'triu'] as const) {
  for (const k of [0, 1, -2, 9]) repeat[`${op} ${k}`] = (x: T) => x[op](k)
  repeat[`${op} batch`] = (x: T) => x[op]()
  repeat[`${op} ints`] = (x: T) => x[op](1)
}
for (const k of [0, 1, -2, 5]) {
  repeat[`diagonal ${k}`] = (x: T) => x.diagonal(k)
  repeat[`diag ${k}`] = (x: T) => x.diag(k)
}
cases('repeat', repeat, 'indexing')

test('repeat: errors', (t) => {
  const x = zeros([2, 3])
  throwsWith(t, () => x.repeat([2]), RangeError, /\[repeat\] sizes: expected at least 2 numbers/)
  throwsWith(t, () => x.repeat(2 as never), TypeError, /\[repeat\] sizes: expected an array/)
  throwsWith(t, () => x.repeatInterleave([1], 0), RangeError, /repeats: expected 2 numbers, got 1/)
  throwsWith(t, () => x.repeatInterleave(x as never), TypeError, /await repeats\.data\(\)/)
  throwsWith(t, () => x.roll([1, 2]), RangeError, /\[roll\] shifts: expected one number without/)
  throwsWith(t, () => x.roll([1, 2], [0]), RangeError, /\[roll\] dims: expected as many as shifts/)
  throwsWith(t, () => zeros([3]).tril(), RangeError, /\[tril\] tensor: expected at least 2/)
  throwsWith(t, () => x.diagonal(0, 1, -1), RangeError, /\[diagonal\] dim2: expected another/)
  throwsWith(t, () => zeros([2, 2, 2]).diag(), RangeError, /\[diag\] tensor: expected 1 or 2/)
  throwsWith(t, () => x.flatten(1, 0), RangeError, /\[flatten\] endDim/)
  throwsWith(t, () => x.unflatten(1, [2, -1]), RangeError, /\[unflatten\] sizes: .* make 3/)
  throwsWith(
    t,
    () => x.movedim([0, 0], [0, 1]),
    RangeError,
    /\[movedim\] source: expected different/,
  )
  throwsWith(t, () => x.movedim(0, [0, 1]), RangeError, /\[movedim\] destination: expected 1 dim/)
  throwsWith(t, () => x.view([4, -1]), RangeError, /\[view\] shape/)
})

// ---- Products --------------------------------------------------------------------------------------

cases(
  'products',
  {
    bmm: (a: T, b: T) => a.bmm(b),
    baddbmm: (x: T, a: T, b: T) => x.baddbmm(a, b, { beta: 0.5, alpha: 2 }),
    outer: (a: T, b: T) => a.outer(b),
    dot: (a: T, b: T) => a.dot(b),
    mv: (a: T, b: T) => a.mv(b),
  },
  'indexing',
)

const equations = Object.keys(fixture('indexing').info).filter((name) => name.startsWith('einsum.'))
cases(
  'einsum',
  Object.fromEntries(
    equations.map((name) => {
      const equation = name.slice('einsum.'.length)
      return [equation, (...xs: T[]) => einsum(equation.replace(' one', ''), ...xs)]
    }),
  ),
  'indexing',
)

test('products: errors', (t) => {
  const x = zeros([2, 3])
  const b = zeros([2, 3, 4])
  throwsWith(t, () => x.bmm(b), RangeError, /\[bmm\] tensor: expected 3 dimensions, got \(2, 3\)/)
  throwsWith(t, () => b.bmm(b), RangeError, /\[bmm\] other: expected shape \(2, 4, n\)/)
  throwsWith(t, () => zeros([9]).baddbmm(b, zeros([2, 4, 2])), RangeError, /\[baddbmm\] tensor/)
  throwsWith(t, () => x.outer(x), RangeError, /\[outer\] tensor: expected one dimension/)
  throwsWith(
    t,
    () => zeros([2]).dot(zeros([3])),
    RangeError,
    /\[dot\] other: expected shape \(2,\)/,
  )
  throwsWith(t, () => x.mv(zeros([2])), RangeError, /\[mv\] vector: expected shape \(3,\)/)
  throwsWith(t, () => einsum('ij', zeros([2])), RangeError, /equation: expected 1 letters for an/)
  throwsWith(t, () => einsum('ij,jk', x), RangeError, /a term for each of 1 operands/)
  throwsWith(t, () => einsum('ij->k', x), RangeError, /only letters of the operands behind/)
  throwsWith(t, () => einsum('ij->ii', x), RangeError, /each letter once behind/)
  throwsWith(t, () => einsum('i1->i', x), RangeError, /expected letters/)
  throwsWith(t, () => einsum('ii', x), RangeError, /equal sizes of the two dimensions 'i'/)
  throwsWith(t, () => einsum('ij,jk', x, x), RangeError, /one size for 'j', got 3 and 2/)
  throwsWith(t, () => einsum('ij'), TypeError, /operands: expected at least one tensor/)
  throwsWith(t, () => einsum('i', zeros([2], { dtype: 'int32' })), TypeError, /operands\[0\]/)
})

// ---- x.at(…) ---------------------------------------------------------------------------------------

const at: Record<string, (...tensors: T[]) => AtItem[]> = {
  number: () => [1],
  negative: () => [-1, 2],
  ranges: () => ['1:', ':-1'],
  step: () => [':', '1::2'],
  new: () => [null, ':', null, 0],
  ellipsis: () => ['...', 1],
  'ellipsis of nothing': () => [0, '...', 1],
  nothing: () => [],
  index: (i) => [i as T],
  'index 1': (i) => [':', i as T],
  two: (i, j) => [i as T, j as T],
  'two broadcast': (i, j) => [':', i as T, j as T],
  'index negative': (i) => [i as T],
  'two negative': (i, j) => [':', i as T, j as T],
  'two apart': (i, j) => [i as T, ':', j as T],
  'three and new': (i, j) => [i as T, null, 0, '1:', j as T],
  ints: (i) => ['1:', i as T],
  'scalar index': (i) => [i as T],
}
cases(
  'at',
  Object.fromEntries(
    Object.entries(at).map(([name, items]) => [
      name,
      (x: T, ...rest: T[]) => x.at(...items(...rest)),
    ]),
  ),
  'indexing',
)

test('at: errors', async (t) => {
  const x = randomTensor([2, 3], 1)
  const i = tensor([0, 2], { dtype: 'int32' })
  throwsWith(t, () => x.at(2), RangeError, /\[at\] items\[0\]: expected .* between -2 and 1, got 2/)
  throwsWith(t, () => x.at(0, 0, 0), RangeError, /\[at\] items: expected at most 2 .*, got 3/)
  throwsWith(t, () => x.at('...', '...'), RangeError, /'\.\.\.' once/)
  throwsWith(
    t,
    () => x.at('1' as never),
    TypeError,
    /items\[0\]: expected a number, a range such as/,
  )
  throwsWith(t, () => x.at('::-1'), RangeError, /a step of at least 1 \(flip\(\) turns/)
  throwsWith(t, () => x.at([0, 1] as never), TypeError, /for indices tensor\(.*, for a range '0:1'/)
  throwsWith(t, () => x.at(x), TypeError, /an int32 tensor of indices/)
  throwsWith(t, () => x.at(true as never), TypeError, /items\[0\]: expected/)
  throwsWith(t, () => x.at(i, tensor([0, 1, 2], { dtype: 'int32' })), RangeError, /broadcast/)
  const wrong = /\[at\] index\[1\]: expected a whole number of at least 0 and below 2, got 2/
  await t.throwsAsync(async () => x.at(i).data(), { message: wrong })
  await t.throwsAsync(async () => x.at(i, i).data(), { message: wrong })
})

// ---- Gradients of gradients ------------------------------------------------------------------------

const square = (y: T): T => y.mul(y)
const index = tensor([1, 0, 1, 1, 0, 0], { shape: [2, 3], dtype: 'int32' })
const twice: Record<string, (x: T) => T> = {
  gather: (x) => square(x.gather(0, index)),
  scatter: (x) => square(x.scatter(0, index, 0.5)),
  scatterAdd: (x) => square(x.mul(0.5).scatterAdd(0, index, x)),
  'sort and cumsum': (x) => square(x.sort(1)[0].cumsum(1)),
  cumprod: (x) => x.add(3).cumprod(1),
  prod: (x) => x.add(3).prod(1),
  'min and amax': (x) => square(x.min(0)[0].add(x.amax(1, { keepdim: true }))),
  'var and std': (x) => x.var(1).mul(x.std(1)),
  logsumexp: (x) => x.logsumexp(0),
  norms: (x) =>
    x
      .norm({ dim: 1 })
      .add(x.norm({ p: 3, dim: 1 }))
      .mul(x.norm({ p: 1 })),
  pieces: (x) => square(x.split([1, 2], 1)[1] as T).mul(square(x.chunk(3, 1)[0] as T)),
  'tril, repeat and roll': (x) => square(x.tril().repeat([2, 1]).roll(1, 1)),
  einsum: (x) => einsum('ij,kj->ik', x, square(x)),
  at: (x) => square(x.at('...', null, 1).add(x.at(index.at(0), index.at(1)).at('1:', null))),
}
for (const [name, f] of Object.entries(twice))
  test(`gradients of gradients: ${name}`, (t) =>
    gradgradcheck(t, f, [randomTensor([2, 3], 8, { requiresGrad: true })]))
