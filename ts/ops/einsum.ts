/** Einstein's sums: products of tensors by the names of their dimensions. */
import { record, willRecord } from '../autograd.js'
import { type Buffer, binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { checkString, formatShape, rangeError, typeError } from '../errors.js'
import { checkShape, MAX_DIMS, numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { checkFloat } from './common.js'
import { sum } from './reduce.js'
import { diagonal } from './repeat.js'
import { expand, permute, reshape } from './shape.js'

/** A tensor and the name of each of its dimensions: letters; '.0', '.1' … those of an ellipsis. */
interface Named {
  x: Tensor
  names: string[]
}

const fail = (expected: string, got: string): RangeError =>
  rangeError('einsum', 'equation', expected, `'${got}'`)

/** The names in one term, with `rank` of dimensions in an ellipsis (counted from the last). */
function namesOf(term: string, rank: number): string[] {
  const names: string[] = []
  for (let i = 0; i < term.length; i++) {
    const letter = term[i] as string
    if (/[a-zA-Z]/.test(letter)) {
      names.push(letter)
    } else if (term.startsWith('...', i)) {
      if (names.some((name) => name.startsWith('.'))) throw fail("one '...' in a term", term)
      for (let k = rank - 1; k >= 0; k--) names.push(`.${k}`)
      i += 2
    } else {
      throw fail("letters, ',', '...' and '->'", term)
    }
  }
  return names
}

function parse(equation: string, operands: readonly Tensor[]): [Named[], string[]] {
  const sides = equation.replace(/ /g, '').split('->')
  if (sides.length > 2) throw fail("one '->'", equation)
  const terms = (sides[0] as string).split(',')
  if (terms.length !== operands.length)
    throw fail(`a term for each of ${operands.length} operands`, equation)
  let widest = 0
  const named = operands.map((x, i) => {
    const term = terms[i] as string
    const letters = term.replace('...', '').length
    const rank = x.shape.length
    const rest = rank - letters
    if (term.includes('...') ? rest < 0 : rest !== 0) {
      const expected = `${rank} letters for an operand of shape ${formatShape(x.shape)}`
      throw fail(expected, term)
    }
    widest = Math.max(widest, rest)
    return { x, names: namesOf(term, rest) }
  })
  const all = named.flatMap(({ names }) => names)
  let out: string[]
  if (sides.length === 2) {
    out = namesOf(sides[1] as string, widest)
    for (const name of out)
      if (!all.includes(name)) throw fail(`only letters of the operands behind '->'`, name)
    if (new Set(out).size !== out.length)
      throw fail("each letter once behind '->'", sides[1] as string)
  } else {
    const once = all.filter(
      (name) => !name.startsWith('.') && all.indexOf(name) === all.lastIndexOf(name),
    )
    const dots = Array.from({ length: widest }, (_, k) => `.${widest - 1 - k}`)
    out = [...dots, ...once.sort()]
  }
  return [named, out]
}

/** The same with each name once: a repeated one becomes the diagonal. */
function once({ x, names }: Named): Named {
  const first = names.findIndex((name, i) => names.indexOf(name, i + 1) > 0)
  if (first < 0) return { x, names }
  const name = names[first] as string
  const second = names.indexOf(name, first + 1)
  if (x.shape[first] !== x.shape[second])
    throw rangeError(
      'einsum',
      'operands',
      `equal sizes of the two dimensions '${name}'`,
      formatShape(x.shape),
    )
  const rest = names.filter((_, d) => d !== first && d !== second)
  return once({ x: diagonal(x, 0, first, second), names: [...rest, name] })
}

/** Without the dimensions that nobody needs. */
function summed({ x, names }: Named, needed: ReadonlySet<string>): Named {
  const gone = names.flatMap((name, d) => (needed.has(name) ? [] : [d]))
  if (gone.length === 0) return { x, names }
  return { x: sum(x, gone), names: names.filter((name) => needed.has(name)) }
}

/** With the dimensions in this order; a name that is not there is a new dimension of size 1. */
function ordered({ x, names }: Named, order: readonly string[]): Tensor {
  const there = order.filter((name) => names.includes(name))
  const same = there.every((name, d) => name === names[d])
  const moved = same
    ? x
    : permute(
        x,
        there.map((name) => names.indexOf(name)),
      )
  if (there.length === order.length) return moved
  let d = 0
  return reshape(
    moved,
    order.map((name) => (names.includes(name) ? (moved.shape[d++] as number) : 1)),
  )
}

/** Sizes by name; dimensions of size 1 stretch. */
function sizesOf(named: readonly Named[]): Map<string, number> {
  const sizes = new Map<string, number>()
  for (const { x, names } of named) {
    names.forEach((name, d) => {
      const size = x.shape[d] as number
      const before = sizes.get(name) ?? 1
      if (size !== before && size !== 1 && before !== 1) {
        const text = name.startsWith('.') ? "'...'" : `'${name}'`
        throw rangeError('einsum', 'operands', `one size for ${text}`, `${before} and ${size}`)
      }
      if (before === 1) sizes.set(name, size)
    })
  }
  return sizes
}

// ---- A product of two ------------------------------------------------------------------------------

/** One factor of a product of matrices [batch, rows, columns], or of their transposes. */
type Factor = readonly [buffer: Buffer, transposed: boolean]

interface Sizes {
  batch: number
  m: number
  n: number
  k: number
}

function product([a, transA]: Factor, [b, transB]: Factor, { batch, m, n, k }: Sizes): Buffer {
  return binding.matmul(a, b, transA, transB, m, n, k, [batch], [1], [1])
}

/** op(a) · op(b) with history. */
function matrices(a: Tensor, transA: boolean, b: Tensor, transB: boolean, sizes: Sizes): Tensor {
  const { batch, m, n, k } = sizes
  const { device } = a
  const out = Tensor.wrap(
    product([a.buffer, transA], [b.buffer, transB], sizes),
    [batch, m, n],
    device,
  )
  if (!willRecord([a, b])) return out
  const [aShape, bShape] = [a.shape, b.shape]
  const savedA = b.requiresGrad ? a.share() : null
  const savedB = a.requiresGrad ? b.share() : null
  record(
    'einsum',
    [a, b],
    [out],
    ([g], node) => {
      const dy = (g as Tensor).buffer
      let da: Buffer | null = null
      let db: Buffer | null = null
      if (node.needs(0) && savedB) {
        const from = { batch, m: transA ? k : m, n: transA ? m : k, k: n }
        da = transA
          ? product([savedB.buffer, transB], [dy, true], from)
          : product([dy, false], [savedB.buffer, !transB], from)
      }
      if (node.needs(1) && savedA) {
        const from = { batch, m: transB ? n : k, n: transB ? k : n, k: m }
        db = transB
          ? product([dy, true], [savedA.buffer, transA], from)
          : product([savedA.buffer, !transA], [dy, false], from)
      }
      return [da && Tensor.wrap(da, aShape, device), db && Tensor.wrap(db, bShape, device)]
    },
    [savedA, savedB].filter((saved) => saved !== null),
    'values',
    ([g], node) => {
      const dy = g as Tensor
      let da: Tensor | null = null
      let db: Tensor | null = null
      if (node.needs(0) && savedB) {
        const y = node.input(1, savedB, bShape, device)
        const from = { batch, m: transA ? k : m, n: transA ? m : k, k: n }
        da = transA ? matrices(y, transB, dy, true, from) : matrices(dy, false, y, !transB, from)
      }
      if (node.needs(1) && savedA) {
        const x = node.input(0, savedA, aShape, device)
        const from = { batch, m: transB ? n : k, n: transB ? k : n, k: m }
        db = transB ? matrices(dy, true, x, transA, from) : matrices(x, !transA, dy, false, from)
      }
      return [da, db]
    },
  )
  return out
}

/** An operand as matrices, of rows (its own names) by columns (the shared ones) or the other way. */
function asMatrices(
  operand: Named,
  batch: readonly string[],
  own: readonly string[],
  shared: readonly string[],
  sizes: ReadonlyMap<string, number>,
): [x: Tensor, ownFirst: boolean] {
  const size = (names: readonly string[]): number =>
    numelOf(names.map((name) => sizes.get(name) as number))
  const full = operand.names.map((name) => sizes.get(name) as number)
  const stretched = full.some((n, d) => n !== operand.x.shape[d])
    ? { x: expand(operand.x, full), names: operand.names }
    : operand
  // As it lies in memory, if it does so in one of the two ways.
  const sharedFirst = [...batch, ...shared, ...own].every((name, d) => name === operand.names[d])
  const ownFirst = !sharedFirst || own.length === 0
  const order = ownFirst ? [...batch, ...own, ...shared] : [...batch, ...shared, ...own]
  const shape = ownFirst ? [size(own), size(shared)] : [size(shared), size(own)]
  return [reshape(ordered(stretched, order), [size(batch), ...shape]), ownFirst]
}

function contract(a: Named, b: Named, needed: ReadonlySet<string>): Named {
  const sizes = sizesOf([a, b])
  const both = a.names.filter((name) => b.names.includes(name))
  const batch = both.filter((name) => needed.has(name))
  const shared = both.filter((name) => !needed.has(name))
  const left = a.names.filter((name) => !both.includes(name))
  const right = b.names.filter((name) => !both.includes(name))
  const names = [...batch, ...left, ...right]
  if (shared.length === 0) {
    checkShape('einsum', names.length > MAX_DIMS ? names.map(() => 1) : [])
    return { x: ordered(a, names).mul(ordered(b, names)), names }
  }
  const [x, rowsFirst] = asMatrices(a, batch, left, shared, sizes)
  const [y, columnsFirst] = asMatrices(b, batch, right, shared, sizes)
  const size = (list: readonly string[]): number =>
    numelOf(list.map((name) => sizes.get(name) as number))
  const inner = { batch: size(batch), m: size(left), n: size(right), k: size(shared) }
  const out = matrices(x, !rowsFirst, y, columnsFirst, inner)
  const shape: Shape = checkShape(
    'einsum',
    names.map((name) => sizes.get(name) as number),
  )
  return { x: reshape(out, shape), names }
}

/**
 * Einstein's sum: products of the operands, summed over the names that are not behind '->'; as
 * `torch.einsum`. `einsum('bth,bsh->bts', a, b)` are the products of every row of a with every row
 * of b. A letter that stands twice in a term takes the diagonal; '...' stands for further
 * dimensions, which broadcast. Without '->' the result has the letters that stand once, in the
 * order of the alphabet. Several operands are multiplied from the left to the right.
 * @throws TypeError unless all are float32; RangeError when the equation and the shapes do not fit
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  checkString('einsum', 'equation', equation)
  if (operands.length === 0) throw typeError('einsum', 'operands', 'at least one tensor', undefined)
  operands.forEach((x, i) => {
    checkFloat('einsum', `operands[${i}]`, x)
    checkSameDevice('einsum', `operands[${i}]`, x, (operands[0] as Tensor).device)
  })
  const [parsed, names] = parse(equation, operands)
  const all = parsed.map(once)
  const full = sizesOf(all)
  let result = all[0] as Named
  for (let i = 1; i < all.length; i++) {
    const next = all[i] as Named
    const later = new Set([...names, ...all.slice(i + 1).flatMap((one) => one.names)])
    // What only one of them has and nobody needs is summed first.
    const a = summed(result, new Set([...later, ...next.names]))
    const b = summed(next, new Set([...later, ...result.names]))
    result = contract(a, b, later)
  }
  result = summed(result, new Set(names))
  const out = ordered(result, names)
  const shape = names.map((name) => full.get(name) as number)
  if (out === operands[0]) return reshape(out, shape)
  return out.shape.every((n, d) => n === shape[d]) ? out : expand(out, shape)
}
