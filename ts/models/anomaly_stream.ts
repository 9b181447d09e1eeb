/** Scores row by row. */
import { types } from 'node:util'
import { isPlainObject } from '../copies.js'
import { Series } from '../data/series.js'
import { rangeError, typeError } from '../errors.js'
import type { AnomalyDetectorState } from './anomaly_config.js'

const FORMAT = 'fused-rnn anomaly stream 1'

/** What a row of a stream scores. */
export interface AnomalyOfRow {
  /** 0 as long as there is no window. */
  score: number
  anomaly: boolean
  byColumn: Record<string, number>
}

/** The last rows of one series; see {@link AnomalyDetector.stream}. */
export class AnomalyStream {
  readonly #score: (
    rows: Series,
  ) => Promise<{ score: number[]; byColumn: Record<string, number[]> }>
  readonly #model: AnomalyDetectorState
  readonly #size: number
  #rows: number[][] = []

  /** @internal */
  constructor(
    score: (rows: Series) => Promise<{ score: number[]; byColumn: Record<string, number[]> }>,
    model: AnomalyDetectorState,
    size: number,
    from?: Uint8Array,
  ) {
    this.#score = score
    this.#model = model
    this.#size = size
    if (from !== undefined) this.#restore(from)
  }

  /**
   * Takes the next row.
   * @param row a number, numbers in the order of the columns, or by name
   * @throws TypeError, RangeError for other columns, and what is no finite number
   */
  push(row: number | ArrayLike<number> | Record<string, number>): Promise<AnomalyOfRow> {
    this.#rows.push(this.#read(row))
    if (this.#rows.length > this.#size) this.#rows.shift()
    return this.#result([...this.#rows])
  }

  async #result(rows: readonly number[][]): Promise<AnomalyOfRow> {
    const { columns, threshold } = this.#model
    if (rows.length < this.#size)
      return { score: 0, anomaly: false, byColumn: Object.fromEntries(columns.map((c) => [c, 0])) }
    const values = columns.map((name, k) => [name, rows.map((row) => row[k] as number)])
    const { score, byColumn } = await this.#score(
      new Series(Object.fromEntries(values) as Record<string, number[]>),
    )
    const last = score.at(-1) as number
    return {
      score: last,
      anomaly: last > threshold,
      byColumn: Object.fromEntries(columns.map((name) => [name, byColumn[name]?.at(-1) as number])),
    }
  }

  #read(row: unknown): number[] {
    const { columns } = this.#model
    const given =
      typeof row === 'number'
        ? [row]
        : typeof row === 'object' && row !== null && isPlainObject(row)
          ? columns.map((name) => (row as Record<string, unknown>)[name])
          : row
    if (!Array.isArray(given) && !ArrayBuffer.isView(given))
      throw typeError('push', 'row', `numbers of ${columns.join(', ')}`, row)
    // Not by its iterator, which a detached array has not.
    const { length } = given as unknown as ArrayLike<unknown>
    const list = Array.from({ length }, (_, k) => (given as unknown as ArrayLike<unknown>)[k])
    if (list.length !== columns.length)
      throw rangeError('push', 'row', `${columns.length} numbers`, String(list.length))
    return list.map((x, k) => {
      const name = columns[k] as string
      if (typeof x !== 'number') throw typeError('push', name, 'a number', x)
      if (!Number.isFinite(x)) throw rangeError('push', name, 'a finite number', String(x))
      return x
    })
  }

  /** The last rows, for `detector.stream(state)` in this process or another. */
  state(): Uint8Array {
    const text = JSON.stringify({
      format: FORMAT,
      columns: this.#model.columns,
      rows: this.#rows,
    })
    return new TextEncoder().encode(text)
  }

  #restore(bytes: Uint8Array): void {
    const expected = `the state of a stream over ${this.#model.columns.join(', ')}`
    if (!types.isUint8Array(bytes)) throw typeError('stream', 'from', expected, bytes)
    let state: Record<string, unknown>
    try {
      state = Object(JSON.parse(new TextDecoder().decode(bytes))) as Record<string, unknown>
    } catch {
      throw rangeError('stream', 'from', expected, 'something else')
    }
    const { format, columns, rows } = state
    const fits =
      format === FORMAT &&
      JSON.stringify(columns) === JSON.stringify(this.#model.columns) &&
      Array.isArray(rows) &&
      rows.length <= this.#size &&
      rows.every(
        (row) =>
          Array.isArray(row) &&
          row.length === this.#model.columns.length &&
          row.every((x) => Number.isFinite(x)),
      )
    if (!fits) throw rangeError('stream', 'from', expected, 'another one')
    this.#rows = rows as number[][]
  }
}
