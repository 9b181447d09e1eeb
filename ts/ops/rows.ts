/** Tensors of which only some rows are kept, all others being 0: gradients of tables. */
import { copyValues } from '../autograd.js'
import { BinaryOp, type Buffer, binding, UpdateRule } from '../binding.js'
import { deviceNumber } from '../device.js'
import { numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { gatherRows } from './gather.js'
import { movedValues } from './transfer.js'

/**
 * What a sparse tensor has in place of memory of its own.
 * - 'any': a row may be there several times, and counts as the sum of them.
 * - 'once': no row is there twice; places that are left over have the index -1 and values 0.
 * - 'coalesced': neither; in order, as PyTorch's.
 */
export interface Rows {
  /** int32 `[n]`: which rows; -1: none. */
  readonly index: Tensor
  /** `[n, …]`: what is in them. */
  readonly values: Tensor
  readonly form: 'any' | 'once' | 'coalesced'
}

/** Elements of a row. */
function widthOf(shape: Shape): number {
  return numelOf(shape.slice(1))
}

export function disposeRows({ index, values }: Rows): void {
  index[Symbol.dispose]()
  values[Symbol.dispose]()
}

/** The same rows under handles of their own. */
export function sharedRows({ index, values, form }: Rows): Rows {
  return { index: index.viewAs(index.shape), values: values.viewAs(values.shape), form }
}

function copiedRows({ index, values, form }: Rows): Rows {
  return { index: copyValues(index), values: copyValues(values), form }
}

/** A copy with memory of its own. */
export function copyOfRows(x: Tensor, rows: Rows): Tensor {
  return Tensor.ofRows(copiedRows(rows), x.shape, x.device)
}

/** The same on another device. */
export function movedRows({ index, values, form }: Rows, device: string): Rows {
  return { index: movedValues(index, device), values: movedValues(values, device), form }
}

/** Adds up what is there several times. */
function addedUp({ index, values }: Rows, shape: Shape): Rows {
  const n = index.numel
  const [sorted, order] = binding.sort(index.buffer, 1, n, n, false, true)
  const [rows, sums] = binding.sumRuns(sorted as Buffer, order, values.buffer, widthOf(shape))
  binding.release(sorted as Buffer)
  binding.release(order)
  return {
    index: Tensor.wrap(rows, [n], index.device, 'int32'),
    values: Tensor.wrap(sums, values.shape, values.device),
    form: 'once',
  }
}

/** The rows of a sparse tensor, none of them twice from here on. */
export function rowsOnce(x: Tensor): Rows {
  const rows = x.rows as Rows
  if (rows.form !== 'any') return rows
  const once = addedUp(rows, x.shape)
  disposeRows(rows)
  x.rows = once
  return once
}

/** Where all of a gradient's numbers are that may be other than 0: for norms and clipping. */
export function numbersOf(gradient: Tensor): Tensor {
  return gradient.rows === null ? gradient : rowsOnce(gradient).values
}

/** The values as an ordinary tensor; itself when it is one. */
export function denseOf(x: Tensor): Tensor {
  if (x.rows === null) return x
  const { index, values } = x.rows
  const [height = 1] = x.shape
  const buffer = binding.scatterAddRows(
    values.buffer,
    index.buffer,
    1,
    height,
    widthOf(x.shape),
    -1,
  )
  return Tensor.wrap(buffer, x.shape, x.device)
}

/** Takes all rows of a sparse tensor away. */
export function emptyRows(x: Tensor): void {
  const before = x.rows as Rows
  const device = deviceNumber(x.device)
  const index = binding.upload(new Int32Array(0), device, 0)
  const values = binding.upload(new Float32Array(0), device, 0)
  x.rows = {
    index: Tensor.wrap(index, [0], x.device, 'int32'),
    values: Tensor.wrap(values, [0, ...x.shape.slice(1)], x.device),
    form: 'coalesced',
  }
  disposeRows(before)
}

function joined(a: Tensor, b: Tensor, width: number, shape: Shape): Tensor {
  const widths = [a.numel, b.numel].map((n) => n * width)
  const kept = [a.buffer, b.buffer]
  return Tensor.wrap(binding.concat(kept, widths, 1), shape, a.device, a.dtype)
}

/** The rows of both. */
function both(a: Rows, b: Rows): Rows {
  const n = a.index.numel + b.index.numel
  return {
    index: joined(a.index, b.index, 1, [n]),
    values: joined(a.values, b.values, 1, [n, ...a.values.shape.slice(1)]),
    form: 'any',
  }
}

/** a + b without history; sparse when both are. */
export function addGradients(a: Tensor, b: Tensor): Tensor {
  if (a.rows !== null && b.rows !== null)
    return Tensor.ofRows(both(a.rows, b.rows), a.shape, a.device)
  const [x, y] = [denseOf(a), denseOf(b)]
  const sum = binding.binary(BinaryOp.add, x.buffer, y.buffer, [a.numel], [1], [1])
  for (const [dense, given] of [[x, a] as const, [y, b] as const])
    if (dense !== given) dense[Symbol.dispose]()
  return Tensor.wrap(sum, a.shape, a.device)
}

/**
 * Adds a gradient to one that may be in the user's hands, in place.
 * @returns whether that was possible: a sparse tensor stays one
 */
export function addGradientInto(to: Tensor, gradient: Tensor): boolean {
  if (to.rows !== null) {
    if (gradient.rows === null) return false
    const before = to.rows
    to.rows = both(before, gradient.rows)
    disposeRows(before)
    return true
  }
  const dense = denseOf(gradient)
  binding.addInto([to.buffer], [dense.buffer])
  if (dense !== gradient) dense[Symbol.dispose]()
  to.changed('backward')
  return true
}

/** p -= values, for the rows of a table; none may be there twice. */
export function subtractRows(fn: string, table: Tensor, index: Buffer, values: Buffer): void {
  binding.sparseStep(
    null,
    -1,
    Infinity,
    UpdateRule.sgd,
    false,
    1,
    0,
    0,
    0,
    0,
    0,
    0,
    1,
    table.buffer,
    index,
    values,
  )
  table.changed(fn)
}

/** See Tensor.coalesce. */
export async function coalesce(x: Tensor, rows: Rows): Promise<Tensor> {
  const { device, shape } = x
  // Values as they are now: they may be clipped while this waits.
  const now = rows.form === 'any' ? addedUp(rows, shape) : copiedRows(rows)
  const numbers = await now.index.data<Int32Array>()
  const kept = Int32Array.from([...numbers.keys()].filter((i) => (numbers[i] as number) >= 0))
  const buffer = binding.upload(kept, deviceNumber(device), kept.length)
  const places = Tensor.wrap(buffer, [kept.length], device, 'int32')
  const found: Rows = {
    index: gatherRows('coalesce', now.index, places),
    values: gatherRows('coalesce', now.values, places),
    form: 'coalesced',
  }
  places[Symbol.dispose]()
  disposeRows(now)
  return Tensor.ofRows(found, shape, device)
}
