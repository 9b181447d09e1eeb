/** Learning from rows as they come, while others ask for predictions. */
import { checkInteger, checkOptions, describe, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { enableGrad, noGrad } from '../grad_mode.js'
import { stateFromBytes, stateToBytes } from '../io/state_bytes.js'
import { Module } from '../nn/module.js'
import { copyInto } from '../ops/in_place.js'
import { mseLoss } from '../ops/pair_loss.js'
import { Tensor } from '../tensor.js'
import type { TrainableOptimizer } from './types.js'

/**
 * A model that reads rows and predicts the next one: `forward(input (T, B, F), state?)` gives the
 * output (T, B, O) and the new state, as `nn.GRU` followed by `nn.Linear` does. O may be smaller than F:
 * then the first O numbers of a row are predicted.
 */
export interface OnlineModel extends Module {
  forward(input: Tensor, state?: never): [output: Tensor, state: unknown]
}

/** What {@link OnlineLearner} takes. */
export interface OnlineLearnerOptions {
  /** Over the model's parameters. */
  optimizer: TrainableOptimizer
  /** Rows that an update goes back through. Default 16. */
  window?: number
  /** Updates after which predictions get the new weights, all at once. Default 100. */
  snapshotEvery?: number
  /** Windows of other clients that are learnt again with each update. Default 0. */
  replay?: number
  /** Clients that are remembered; of more, the one that was silent longest is forgotten. Default 10,000. */
  maxClients?: number
  /** The loss of predicted and true rows, of one shape; one element. Default: the mean squared error. */
  loss?: (predicted: Tensor, target: Tensor) => Tensor
}

/** What {@link OnlineLearner.update} gives. */
export interface OnlineUpdate {
  /** Before the update; null for a client's first row, of which nothing can be learnt. */
  loss: number | null
}

/** What is remembered of a client. */
interface Client {
  /** The last rows, at most window + 1. */
  rows: Float32Array[]
  /** Of the snapshot, after the rows that were predicted from. */
  state: unknown
}

/** Updates that wait, at most so many learnt in one step. */
const TOGETHER = 64

interface Waiting {
  rows: Float32Array[]
  resolve: (update: OnlineUpdate) => void
  reject: (error: unknown) => void
}

/**
 * Learns from the rows of many clients as they come, and predicts each one's next row. Predictions see
 * whole snapshots of the weights only, and do not wait for learning.
 *
 * ```ts
 * const learner = new OnlineLearner(model, { optimizer: new optim.Adam(model.parameters()) })
 * const next = await learner.predict('pump-7', row)
 * await learner.update('pump-7', row)
 * ```
 */
export class OnlineLearner<M extends OnlineModel = OnlineModel> {
  /** What learns. */
  readonly model: M
  /** What predicts: the model as it was at the last snapshot. */
  readonly snapshot: M
  readonly window: number
  readonly snapshotEvery: number
  readonly replay: number
  readonly maxClients: number
  /** Updates that have been applied. */
  updates = 0
  readonly #optimizer: TrainableOptimizer
  readonly #loss: (predicted: Tensor, target: Tensor) => Tensor
  readonly #clients = new Map<string | number, Client>()
  #waiting: Waiting[] = []
  #running = false
  #width: number | null = null

  /** @throws TypeError, RangeError */
  constructor(model: M, options: OnlineLearnerOptions) {
    const fn = 'OnlineLearner'
    if (!(model instanceof Module)) throw typeError(fn, 'model', 'a module', model)
    checkOptions(fn, options, [
      'optimizer',
      'window',
      'snapshotEvery',
      'replay',
      'maxClients',
      'loss',
    ])
    const { optimizer, loss = (a: Tensor, b: Tensor): Tensor => mseLoss(a, b) } = options
    if (typeof optimizer?.step !== 'function' || typeof optimizer.zeroGrad !== 'function')
      throw typeError(fn, 'optimizer', 'an optimizer', optimizer)
    if (typeof loss !== 'function') throw typeError(fn, 'loss', 'a function', loss)
    this.window = checkInteger(fn, 'window', options.window ?? 16, 1, 2 ** 16)
    this.snapshotEvery = checkInteger(fn, 'snapshotEvery', options.snapshotEvery ?? 100, 1)
    this.replay = checkInteger(fn, 'replay', options.replay ?? 0, 0, 2 ** 16)
    this.maxClients = checkInteger(fn, 'maxClients', options.maxClients ?? 10_000, 1)
    this.model = model
    this.snapshot = model.clone().eval()
    this.#optimizer = optimizer
    this.#loss = loss
  }

  /** How many clients are remembered. */
  get clients(): number {
    return this.#clients.size
  }

  /**
   * The client's next row, after this one.
   * @param row as many finite numbers as every other row
   * @throws TypeError, RangeError at the call
   */
  predict(clientId: string | number, row: ArrayLike<number>): Promise<number[]> {
    const fn = 'predict'
    const client = this.#client(fn, clientId)
    const values = this.#row(fn, row)
    const device = this.model.parameters()[0]?.device ?? 'cpu'
    const result = noGrad(() => {
      using input = tensor(values, { shape: [1, 1, values.length], device })
      const [output, state] = this.snapshot.forward(input, (client.state ?? undefined) as never)
      dispose(client.state)
      client.state = state
      const data = output.data()
      output[Symbol.dispose]()
      return data
    })
    return result.then((data) => Array.from(data))
  }

  /**
   * Learns from the client's last rows that this row came after them. Updates that come while another
   * is being applied are learnt together.
   * @returns settles when the update has been applied; loss: what the model lost on these rows before
   * @throws TypeError, RangeError at the call; (rejects) RangeError for a loss that is not finite, which
   *   is not applied
   */
  update(clientId: string | number, row: ArrayLike<number>): Promise<OnlineUpdate> {
    const fn = 'update'
    const client = this.#client(fn, clientId)
    client.rows.push(this.#row(fn, row))
    if (client.rows.length > this.window + 1) client.rows.shift()
    const rows = [...client.rows]
    if (rows.length < 2) return Promise.resolve({ loss: null })
    return new Promise((resolve, reject) => {
      this.#waiting.push({ rows, resolve, reject })
      if (!this.#running) void this.#run()
    })
  }

  /** Gives predictions the weights as they are now. */
  refresh(): void {
    const own = this.model.parameters()
    this.snapshot.parameters().forEach((copy, i) => {
      copyInto('OnlineLearner', copy, (own[i] as Tensor).buffer)
    })
  }

  /** Forgets a client. @returns whether there was one */
  forget(clientId: string | number): boolean {
    dispose(this.#clients.get(clientId)?.state)
    return this.#clients.delete(clientId)
  }

  /** What is remembered of a client, for {@link restore} here or in another process. @throws (rejects) RangeError for an unknown one */
  async stateOf(clientId: string | number): Promise<Uint8Array> {
    const client = this.#clients.get(clientId)
    if (client === undefined)
      throw rangeError('stateOf', 'clientId', 'a client that is remembered', describe(clientId))
    const rows = client.rows.map((row) => [...row])
    return stateToBytes({ rows, state: client.state })
  }

  /** Remembers a client as {@link stateOf} gave it. @throws TypeError, RangeError for other bytes */
  restore(clientId: string | number, bytes: Uint8Array): void {
    const fn = 'restore'
    const device = this.model.parameters()[0]?.device ?? 'cpu'
    const { rows, state } = Object(stateFromBytes(bytes, { device })) as Partial<{
      rows: unknown
      state: unknown
    }>
    if (!Array.isArray(rows) || state === undefined)
      throw rangeError(fn, 'bytes', 'what stateOf gave', 'something else')
    const checked = rows.map((row) => this.#row(fn, row as number[]))
    const client = this.#client(fn, clientId)
    dispose(client.state)
    client.rows = checked.slice(-this.window - 1)
    client.state = state
  }

  /** The client, as the one that spoke last; a new one may take the place of another. */
  #client(fn: string, id: unknown): Client {
    if (typeof id !== 'string' && typeof id !== 'number')
      throw typeError(fn, 'clientId', 'a text or a number', id)
    const client = this.#clients.get(id) ?? { rows: [], state: null }
    this.#clients.delete(id)
    this.#clients.set(id, client)
    if (this.#clients.size > this.maxClients) {
      const [oldest] = this.#clients.keys()
      this.forget(oldest as string | number)
    }
    return client
  }

  #row(fn: string, row: unknown): Float32Array {
    if (!Array.isArray(row) && !(ArrayBuffer.isView(row) && !(row instanceof DataView)))
      throw typeError(fn, 'row', 'an array of numbers', row)
    const list = Array.from(row as ArrayLike<unknown>)
    if (list.length === 0) throw rangeError(fn, 'row', 'at least one number', 'none')
    if (list.length !== (this.#width ?? list.length))
      throw rangeError(fn, 'row', `${this.#width} numbers, as before`, String(list.length))
    const values = Float32Array.from(list, (x, k) => {
      if (typeof x !== 'number') throw typeError(fn, `row[${k}]`, 'a number', x)
      if (!Number.isFinite(x)) throw rangeError(fn, `row[${k}]`, 'a finite number', String(x))
      return x
    })
    this.#width ??= values.length
    return values
  }

  /** Learns what waits, until nothing does. */
  async #run(): Promise<void> {
    this.#running = true
    try {
      while (this.#waiting.length > 0) {
        const [{ rows: first }] = this.#waiting as [Waiting]
        // Windows of one length go side by side.
        const fits = (one: Waiting): boolean => one.rows.length === first.length
        const batch = this.#waiting.filter(fits).slice(0, TOGETHER)
        this.#waiting = this.#waiting.filter((one) => !batch.includes(one))
        try {
          const loss = await this.#learn(batch.map(({ rows }) => rows))
          for (const { resolve } of batch) resolve({ loss })
        } catch (error) {
          for (const { reject } of batch) reject(error)
        }
      }
    } finally {
      this.#running = false
    }
  }

  /** One step on windows of one length. */
  async #learn(windows: Float32Array[][]): Promise<number> {
    const length = (windows[0] as Float32Array[]).length
    const all = [...windows, ...this.#replayed(length)]
    const [steps, batch, width] = [length - 1, all.length, this.#width as number]
    const values = new Float32Array(length * batch * width)
    all.forEach((rows, b) => {
      rows.forEach((row, t) => {
        values.set(row, (t * batch + b) * width)
      })
    })
    const device = this.model.parameters()[0]?.device ?? 'cpu'
    return enableGrad(async () => {
      using rows = tensor(values, { shape: [length, batch, width], device })
      const [output, state] = this.model.forward(rows.slice(0, 0, steps))
      dispose(state)
      const target = rows.slice(0, 1)
      const outputs = output.shape[2] as number
      if (!(outputs <= width))
        throw rangeError('update', 'output', `at most ${width} numbers a row`, String(outputs))
      const loss = this.#loss(output, outputs === width ? target : target.slice(2, 0, outputs))
      this.#optimizer.zeroGrad()
      loss.backward()
      const value = await loss.item()
      if (!Number.isFinite(value)) {
        this.#optimizer.zeroGrad()
        throw rangeError(
          'update',
          'loss',
          'a finite number (the update is not applied)',
          `${value}`,
        )
      }
      await this.#optimizer.step()
      this.updates++
      if (this.updates % this.snapshotEvery === 0) this.refresh()
      return value
    })
  }

  /** Windows of others, of this length, drawn by turns. */
  #replayed(length: number): Float32Array[][] {
    if (this.replay === 0) return []
    const others = [...this.#clients.values()].filter(({ rows }) => rows.length === length)
    const step = Math.max(1, Math.floor(others.length / this.replay))
    return others
      .filter((_, i) => (i + this.updates) % step === 0)
      .slice(0, this.replay)
      .map(({ rows }) => [...rows])
  }
}

function dispose(state: unknown): void {
  if (state instanceof Tensor) state[Symbol.dispose]()
  else if (Array.isArray(state)) for (const part of state) dispose(part)
}
