/** Methods of a tensor: of which only some rows are kept. */
import { formatShape } from '../errors.js'
import { coalesce, denseOf, type Rows } from '../ops/rows.js'
import type { Tensor } from '../tensor.js'
import { IndexingMethods } from './indexing.js'

/** A part of {@link Tensor}. */
export abstract class SparseMethods extends IndexingMethods {
  /** What a sparse tensor has in place of memory. @internal */
  rows: Rows | null = null

  /**
   * Whether only some rows are kept, the others being 0: so is the gradient of a table that an
   * `nn.Embedding` with `sparse: true` looks up. As `torch.Tensor.is_sparse`. Operations refuse such a
   * tensor: {@link toDense} makes an ordinary one. `clone`, `detach` and `to` (a device) work, and
   * optimisers and clipping know what to do.
   */
  get isSparse(): boolean {
    return this.rows !== null
  }

  /**
   * Whether each row of a sparse tensor is there once, and in order; as
   * `torch.Tensor.is_coalesced`.
   * @throws TypeError of a tensor that is not sparse
   */
  isCoalesced(this: Tensor): boolean {
    return rowsOf('isCoalesced', this).form === 'coalesced'
  }

  /**
   * A sparse tensor with each row once, in order, and those that are there several times added up; itself
   * when it is so already. As `torch.Tensor.coalesce`, but a promise: how many rows there are depends on
   * values.
   * @throws (rejects) TypeError of a tensor that is not sparse; with the first failure among the
   *   operations queued so far
   */
  async coalesce(this: Tensor): Promise<Tensor> {
    const rows = rowsOf('coalesce', this)
    return rows.form === 'coalesced' ? this : coalesce(this, rows)
  }

  /**
   * Which rows a coalesced tensor has, int32 `[1, n]`; as `torch.Tensor.indices`. It shares the memory.
   * @throws TypeError of a tensor that is not sparse, or not coalesced
   */
  indices(this: Tensor): Tensor {
    const { index } = coalescedRows('indices', this)
    return index.viewAs([1, index.numel])
  }

  /**
   * The rows that a coalesced tensor has, `[n, …]`; as `torch.Tensor.values`. It shares the memory.
   * @throws TypeError of a tensor that is not sparse, or not coalesced
   */
  values(this: Tensor): Tensor {
    const { values } = coalescedRows('values', this)
    return values.viewAs(values.shape)
  }

  /** A sparse tensor as an ordinary one, without history; as `torch.Tensor.to_dense`. Others: itself. */
  toDense(this: Tensor): Tensor {
    return denseOf(this)
  }
}

function rowsOf(fn: string, x: Tensor): Rows {
  if (x.rows === null) throw new TypeError(`[${fn}] tensor: expected a sparse one, got ${x}`)
  return x.rows
}

function coalescedRows(fn: string, x: Tensor): Rows {
  const rows = rowsOf(fn, x)
  if (rows.form !== 'coalesced')
    throw new TypeError(
      `[${fn}] tensor: expected a coalesced one, got one of shape ${formatShape(x.shape)} that is not; use (await x.coalesce()).${fn}()`,
    )
  return rows
}
