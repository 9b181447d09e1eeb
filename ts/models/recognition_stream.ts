/** Labels row by row. */
import { types } from 'node:util'
import { checkRow } from '../data/example_batches.js'
import type { Scale } from '../data/window_features.js'
import { rangeError, typeError } from '../errors.js'
import { stateFromBytes, stateToBytes } from '../io/state_bytes.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import type { CellState } from './recurrent_cells.js'
import { scaledRows } from './text_inputs.js'

const FORMAT = 'fused-rnn recognition stream 1'

/** What a row of a stream adds. */
export interface RecognizedRow {
  /** The label that begins with this row; null: none does. */
  label: string | null
  /** The probability of what is likeliest in this row, a label or the blank. */
  score: number
}

/** The recurrent state after some rows; null: before the first. */
export type StreamState = CellState | null

/** What a stream asks of its model. */
export interface RecognizerStep {
  labels: readonly string[]
  scales: readonly Scale[]
  /** Of each of its tensors. */
  stateShape: readonly number[]
  /** How many they are. */
  parts: number
  device: string
  /** Probabilities of the blank and the labels in the next row, and the state behind it. */
  step(row: Float32Array, state: StreamState): [probabilities: Tensor, state: StreamState]
}

/** One sequence, as far as it has come; see {@link SequenceRecognizer.stream}. */
export class RecognitionStream {
  readonly #model: RecognizerStep
  #state: StreamState = null
  /** What was likeliest in the row before. */
  #last: Promise<number> = Promise.resolve(0)

  /** @internal */
  constructor(model: RecognizerStep, from?: Uint8Array) {
    this.#model = model
    if (from !== undefined) this.#restore(from)
  }

  /**
   * Takes the next row.
   * @param row numbers in the order of the columns
   * @throws TypeError, RangeError for another number of columns, and what is no finite number
   */
  push(row: ArrayLike<number>): Promise<RecognizedRow> {
    const { scales, labels } = this.#model
    checkRow('push', 'row', row, scales.length)
    const [scaled] = scaledRows([row], scales) as [Float32Array]
    const before = this.#state
    const [probabilities, state] = this.#model.step(scaled, before)
    this.#state = state
    for (const tensor of [before].flat()) tensor?.[Symbol.dispose]()
    const read = probabilities.data()
    probabilities[Symbol.dispose]()
    const found = Promise.all([this.#last, read]).then(([last, values]) => {
      const best = values.indexOf(Math.max(...values) as never)
      const label = best === 0 || best === last ? null : (labels[best - 1] as string)
      return { best, row: { label, score: values[best] as number } }
    })
    this.#last = found.then(
      ({ best }) => best,
      () => 0,
    )
    return found.then((one) => one.row)
  }

  /** What all rows so far have left, for `recognizer.stream(state)` in this process or another. */
  async state(): Promise<Uint8Array> {
    const { labels } = this.#model
    const state = [this.#state].flat().map((tensor) => tensor?.detach() ?? null)
    try {
      const last = await this.#last
      return await stateToBytes({ format: FORMAT, labels: [...labels], last, state })
    } finally {
      for (const tensor of state) tensor?.[Symbol.dispose]()
    }
  }

  #restore(bytes: Uint8Array): void {
    const { labels, stateShape, parts, device } = this.#model
    const expected = `the state of a stream of ${labels.length} labels and shape (${stateShape.join(', ')})`
    if (!types.isUint8Array(bytes)) throw typeError('stream', 'from', expected, bytes)
    let given: Record<string, unknown>
    try {
      given = Object(stateFromBytes(bytes, { device })) as Record<string, unknown>
    } catch {
      throw rangeError('stream', 'from', expected, 'something else')
    }
    const { format, labels: own, last, state } = given
    const empty = Array.isArray(state) && state.length === 1 && state[0] === null
    const fits =
      format === FORMAT &&
      JSON.stringify(own) === JSON.stringify(labels) &&
      Number.isInteger(last) &&
      Array.isArray(state) &&
      (empty ||
        (state.length === parts &&
          state.every(
            (x) => x instanceof Tensor && x.dtype === 'float32' && sameShape(x.shape, stateShape),
          )))
    if (!fits) throw rangeError('stream', 'from', expected, 'another one')
    this.#last = Promise.resolve(last as number)
    this.#state = (state.length === 1 ? state[0] : state) as StreamState
  }
}
