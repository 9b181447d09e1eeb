/**
 * What the machine could do: the rate at which it does the products of a workload, and nothing else.
 *
 * Every product [m, k] · [k, n] of a training step comes three times, with the same number of
 * operations: forward, for the gradient of its input ([m, n] · [n, k]) and for the gradient of its
 * weight ([k, m] · [m, n]); in inference, once. Each of these sizes is timed with fused-rnn's own
 * `matmul` and, where it is there, with PyTorch's `mm`, in the precision and on as many threads as the
 * workload uses, and the best rate of all bursts counts. A recurrent product runs step by step, forward and for its input's gradient:
 * it is timed both with the rows of one step and with the rows of all steps stacked into one tall
 * product, and the better rate counts, so the limit is what could be reached if the steps cost
 * nothing by being apart. One-hot input is a row lookup and has no product.
 *
 * The limit is the time-weighted mean: all operations / Σ (operations of i / best rate of i).
 */
import { forwardProducts } from './cost.js'
import { type EngineName, engines, startEngine } from './engines.js'
import { type Peer, PeerError } from './process.js'
import type { Workload } from './workloads.js'

/** How long a size is timed, in each of the two. */
const SECONDS = 0.1
/** Taller products are timed with fewer rows: the rate does not change any more. */
const TALL_GFLOP = 40

/** The engines that can time products. */
export type ProductEngine = Extract<EngineName, 'fused-rnn' | 'pytorch'>

type Sizes = [m: number, k: number, n: number]

/** The limit of a workload. */
export interface Limit {
  gflops: number
  /** Every size with its best rate, readable. */
  products: string[]
}

interface Rate {
  gflops: number
  by: string
  sizes: Sizes
}

/** Rows of a tall product that are enough to know its rate. */
function fewer(rows: number, weights: number): number {
  return Math.min(rows, Math.max(512, Math.floor((TALL_GFLOP * 1e9) / (2 * weights))))
}

/** Times products on a number of threads, each size once. */
export class Limits {
  readonly #threads: number
  readonly #engines: readonly ProductEngine[]
  #peers: Promise<Peer[]> | null = null
  readonly #rates = new Map<string, Promise<Rate>>()

  constructor(threads: number, engines: readonly ProductEngine[]) {
    this.#threads = threads
    this.#engines = engines
  }

  async of(w: Workload, training: boolean): Promise<Limit> {
    let operations = 0
    let seconds = 0
    const products: string[] = []
    const add = async (name: string, work: number, ...candidates: Sizes[]): Promise<void> => {
      let best: Rate = { gflops: 0, by: '', sizes: candidates[0] as Sizes }
      // One after the other: both engines want all threads.
      for (const sizes of candidates) {
        const rate = await this.#rate(sizes)
        if (rate.gflops > best.gflops) best = rate
      }
      const [m, k, n] = best.sizes
      products.push(`${name} ${m}×${k}·${k}×${n}: ${best.gflops.toFixed(1)} (${best.by})`)
      operations += work
      seconds += work / (best.gflops * 1e9)
    }
    for (const { name, m, k, n, times } of forwardProducts(w)) {
      const work = 2 * m * k * n * times
      const rows = name === 'recurrent' ? [fewer(m, k * n), w.batch] : [fewer(m, k * n)]
      await add(name, work, ...rows.map((r): Sizes => [r, k, n]))
      if (!training) continue
      await add(`${name}, d input`, work, ...rows.map((r): Sizes => [r, n, k]))
      await add(`${name}, d weight`, work, [k, fewer(m, k * n), n])
    }
    return { gflops: operations / seconds / 1e9, products }
  }

  stop(): void {
    void this.#peers?.then((peers) => {
      for (const peer of peers) peer.stop()
    })
  }

  #rate(sizes: Sizes): Promise<Rate> {
    const key = sizes.join('×')
    let rate = this.#rates.get(key)
    if (rate === undefined) {
      rate = this.#measure(sizes)
      this.#rates.set(key, rate)
    }
    return rate
  }

  async #measure(sizes: Sizes): Promise<Rate> {
    this.#peers ??= this.#start()
    const best: Rate = { gflops: 0, by: '', sizes }
    for (const peer of await this.#peers) {
      const { gflops } = await peer.ask('product', { sizes, seconds: SECONDS })
      if (Number(gflops) > best.gflops)
        Object.assign(best, { gflops: Number(gflops), by: peer.title })
    }
    return best
  }

  async #start(): Promise<Peer[]> {
    const peers: Peer[] = []
    for (const engine of this.#engines.map((name) => engines[name])) {
      try {
        const program = engine.program.replace(/(\.\w+)$/, '_products$1')
        peers.push(await startEngine(engine, ['{}', String(this.#threads)], program))
      } catch (error) {
        if (!(error instanceof PeerError)) throw error
      }
    }
    return peers
  }
}
