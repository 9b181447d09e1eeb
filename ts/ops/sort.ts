/** Elements in order. */
import { type Backward, record, willRecord } from '../autograd.js'
import { type Buffer, binding } from '../binding.js'
import { checkBoolean, checkInteger, checkOptions, rangeError } from '../errors.js'
import { numelOf } from '../shape.js'
import { Tensor } from '../tensor.js'
import { summed } from './along.js'
import { checkDim, checkNumeric } from './common.js'
import { transpose } from './shape.js'

/** What sort and argsort take. */
export interface SortOptions {
  /** The largest first. Default false. */
  descending?: boolean
  /** Equal ones stay in their order, which they always do. */
  stable?: boolean
}

/** What topk takes. */
export interface TopkOptions {
  /** Default: the last. */
  dim?: number
  /** False: the smallest ones. Default true. */
  largest?: boolean
  /** In order, which they always are. */
  sorted?: boolean
}

/** The first k along a dimension in order, and where they were. */
function ordered(
  fn: string,
  x: Tensor,
  dim: number,
  k: number,
  descending: boolean,
  wantValues = true,
): [values: Tensor | null, indices: Tensor] {
  const rank = x.shape.length
  const n = x.shape[dim] ?? 1
  if (n >= 2 ** 31) throw rangeError(fn, 'tensor', 'fewer than 2^31 elements to sort', `${n}`)
  const last = rank === 0 || dim === rank - 1
  const rows = last ? x : transpose(x.detach(), dim, rank - 1)
  const outer = n === 0 ? numelOf(rows.shape.slice(0, -1)) : rows.numel / n
  const [value, index] = binding.sort(rows.buffer, outer, n, k, descending, wantValues)
  const shape = rank === 0 ? [] : [...rows.shape.slice(0, -1), k]
  const back = (buffer: Buffer, dtype: 'float32' | 'int32'): Tensor => {
    const out = Tensor.wrap(buffer, shape, x.device, dtype)
    if (last) return out
    const turned = transpose(out, dim, rank - 1)
    out[Symbol.dispose]()
    return turned
  }
  if (!last) rows[Symbol.dispose]()
  const indices = back(index, 'int32')
  if (value === null) return [null, indices]
  const values = back(value, x.dtype as 'float32' | 'int32')
  if (!willRecord([x])) return [values, indices]
  const full = x.shape
  const saved = indices.viewAs(indices.shape)
  const backward: Backward = ([g]) => [summed(fn, full, dim, saved, g as Tensor)]
  record(fn, [x], [values], backward, [saved], 'values', backward)
  return [values, indices]
}

function checkSort(fn: string, x: Tensor, dim: number, options: SortOptions): [number, boolean] {
  checkNumeric(fn, 'tensor', x)
  const d = checkDim(fn, 'dim', dim, x.shape.length)
  checkOptions(fn, options, ['descending', 'stable'])
  if (options.stable !== undefined) checkBoolean(fn, 'stable', options.stable)
  return [d, checkBoolean(fn, 'descending', options.descending ?? false)]
}

export function sort(x: Tensor, dim = -1, options: SortOptions = {}): [Tensor, Tensor] {
  const [d, descending] = checkSort('sort', x, dim, options)
  return ordered('sort', x, d, x.shape[d] ?? 1, descending) as [Tensor, Tensor]
}

export function argsort(x: Tensor, dim = -1, options: SortOptions = {}): Tensor {
  const [d, descending] = checkSort('argsort', x, dim, options)
  return ordered('argsort', x, d, x.shape[d] ?? 1, descending, false)[1]
}

export function topk(x: Tensor, k: number, options: TopkOptions = {}): [Tensor, Tensor] {
  checkNumeric('topk', 'tensor', x)
  checkOptions('topk', options, ['dim', 'largest', 'sorted'])
  const d = checkDim('topk', 'dim', options.dim ?? -1, x.shape.length)
  const largest = checkBoolean('topk', 'largest', options.largest ?? true)
  if (options.sorted !== undefined) checkBoolean('topk', 'sorted', options.sorted)
  checkInteger('topk', 'k', k, x.shape.length === 0 ? 1 : 0, x.shape[d] ?? 1)
  return ordered('topk', x, d, k, largest) as [Tensor, Tensor]
}
