/** One row of the benchmark: ours and its opponents on one workload, in interleaved rounds. */
import { forwardFlops, tokensPerStep, trainingFlops } from './cost.js'
import { type EngineName, engines, startEngine } from './engines.js'
import type { Limit, Limits } from './limit.js'
import { type Peer, PeerError } from './process.js'
import type { ListName, Workload } from './workloads.js'

/** Long enough that the clock and the start of a round do not matter. */
const SECONDS_PER_ROUND = 0.5
/** An engine that needs so long for a step takes part in the first round only. */
const SECONDS_OF_PATIENCE = 10
/** Tokens of a round of generation, at most. */
const MOST_TOKENS = 1000

/** Median with the smallest and largest: of ratios, the noise of the machine. */
export interface Spread {
  median: number
  min: number
  max: number
}

/** A ratio: 2.21, 15.4, 120. */
export function times(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** Microseconds from one token to the next, at batch 1. */
export interface Latency {
  median: number
  p99: number
}

/** What was measured of one engine. */
export interface Measured {
  engine: EngineName
  /** Name and version, as the engine says. */
  title: string
  tokensPerSecond: number
  /** Peak resident memory of the process, and what of it was there before the first step. */
  peakBytes: number | null
  bytesAtReady: number | null
  latency?: Latency
}

/** An opponent. */
export interface Opponent extends Measured {
  /** Our speed over its, of the same round. */
  ratio: Spread
  /** Its median latency over ours, of the same round. */
  latencyRatio?: Spread
}

/** A row of the results. */
export interface Row {
  workload: string
  list: ListName | 'own'
  threads: number
  tokensPerStep: number
  /** Useful operations. */
  gflopPerStep: number
  ours: Measured & { gflops: number }
  peers: Opponent[]
  /** Null where products could not be timed. */
  limit: Limit | null
  /** Opponents that did not get through, and why. */
  failed: { engine: EngineName; reason: string }[]
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const high = sorted[middle] as number
  return sorted.length % 2 ? high : (high + (sorted[middle - 1] as number)) / 2
}

/** Of some values. */
export function spread(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) }
}

function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] as number
}

/** Processes that go on to the next workload. */
export type KeptPeers = Map<EngineName, Peer>

/** An engine at work on a workload. */
class Contestant {
  readonly speeds: number[] = []
  /** Medians of the rounds. */
  readonly latencies: number[] = []
  readonly #microseconds: number[] = []
  #steps = 1
  #tokens = 0
  /** Whether it is too slow for more than one round. */
  slow = false

  private constructor(
    readonly engine: EngineName,
    readonly peer: Peer,
    readonly w: Workload,
    readonly request: 'train' | 'infer',
    readonly own: boolean,
  ) {}

  static async start(
    engine: EngineName,
    w: Workload,
    threads: number,
    request: 'train' | 'infer',
    kept: KeptPeers | null,
  ): Promise<Contestant> {
    const { mode, given } = engines[engine]
    const workload = given?.(w) ?? w
    const args = [JSON.stringify(workload), String(threads), ...(mode === undefined ? [] : [mode])]
    let peer = kept?.get(engine)
    if (peer !== undefined) await peer.setUp(workload)
    else peer = await startEngine(engines[engine], args)
    try {
      const contestant = new Contestant(engine, peer, w, request, kept === null)
      await contestant.#calibrate()
      kept?.set(engine, peer)
      return contestant
    } catch (error) {
      kept?.delete(engine)
      peer.stop()
      throw error
    }
  }

  /** Finds out how many steps fill a round; the first one warms up. */
  async #calibrate(): Promise<void> {
    await this.#run(1)
    let took = await this.#run(1)
    this.slow = took > SECONDS_OF_PATIENCE && this.engine !== 'fused-rnn'
    if (took < SECONDS_PER_ROUND / 10) took = (await this.#run(5)) / 5
    this.#steps = Math.max(1, Math.round(SECONDS_PER_ROUND / took))
    if (this.request === 'train' || this.w.bidirectional || this.w.kind === 'packed') return
    const warm = await this.#generate(10)
    const tokens = Math.round((SECONDS_PER_ROUND * 1e6) / median(warm))
    this.#tokens = Math.min(MOST_TOKENS, Math.max(10, tokens))
    await this.#generate(this.#tokens) // compilers are at work in the first ones
  }

  async round(): Promise<void> {
    this.speeds.push((this.#steps * tokensPerStep(this.w)) / (await this.#run(this.#steps)))
  }

  async generationRound(): Promise<void> {
    if (this.#tokens === 0) return
    const times = await this.#generate(this.#tokens)
    this.#microseconds.push(...times)
    this.latencies.push(median(times))
  }

  result(): Measured {
    const times = this.#microseconds
    return {
      engine: this.engine,
      title: this.peer.title,
      tokensPerSecond: median(this.speeds),
      // A process that has done other workloads has their peak.
      peakBytes: this.own ? this.peer.peakBytes() : null,
      bytesAtReady: this.peer.bytesAtReady,
      ...(times.length > 0 && { latency: { median: median(times), p99: percentile(times, 0.99) } }),
    }
  }

  async #run(steps: number): Promise<number> {
    const { seconds } = await this.peer.ask(this.request, steps)
    return Number(seconds)
  }

  async #generate(tokens: number): Promise<number[]> {
    return (await this.peer.ask('generate', tokens)).microseconds as number[]
  }
}

export interface Setting {
  list: Row['list']
  threads: number
  rounds: number
  inference: boolean
  opponents: readonly EngineName[]
  limits: Limits
  /** Null: a process for each workload, whose peak memory is its own. */
  kept: KeptPeers | null
}

/**
 * Measures a row. An opponent that fails is left out and reported.
 * @throws (rejects) PeerError when ours fails
 */
export async function measure(w: Workload, setting: Setting): Promise<Row> {
  const { list, threads, rounds, inference, opponents, limits, kept } = setting
  const request = inference ? 'infer' : 'train'
  const failed: Row['failed'] = []
  const others: Contestant[] = []
  let us: Contestant | null = null
  let row: Row
  try {
    us = await Contestant.start('fused-rnn', w, threads, request, kept)
    for (const engine of opponents) {
      try {
        others.push(await Contestant.start(engine, w, threads, request, kept))
      } catch (error) {
        fail(engine, error)
      }
    }
    await inTurns((contestant) => contestant.round())
    if (inference) await inTurns((contestant) => contestant.generationRound())
    row = result(us)
  } finally {
    if (kept === null) for (const c of [us, ...others]) c?.peer.stop()
  }
  // After the others have ended: products want all threads and some memory.
  row.limit = await limits.of(w, !inference).catch((error) => {
    if (error instanceof PeerError) return null
    throw error
  })
  return row

  function fail(engine: EngineName, error: unknown): void {
    if (!(error instanceof PeerError)) throw error
    failed.push({ engine, reason: error.message })
  }

  async function inTurns(turn: (contestant: Contestant) => Promise<void>): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      await turn(us as Contestant)
      for (const contestant of [...others]) {
        if (contestant.slow && round > 0) continue
        try {
          await turn(contestant)
        } catch (error) {
          fail(contestant.engine, error)
          kept?.delete(contestant.engine)
          others.splice(others.indexOf(contestant), 1)
        }
      }
    }
  }

  function result(us: Contestant): Row {
    const flops = inference ? forwardFlops(w) : trainingFlops(w)
    const measured = us.result()
    // A slow one has fewer rounds than we have.
    const ratios = (a: number[], b: number[]): Spread =>
      spread(a.slice(0, b.length).map((value, round) => value / (b[round] as number)))
    return {
      workload: w.name,
      list,
      threads,
      tokensPerStep: tokensPerStep(w),
      gflopPerStep: flops / 1e9,
      ours: {
        ...measured,
        gflops: ((measured.tokensPerSecond / tokensPerStep(w)) * flops) / 1e9,
      },
      peers: others.map((other) => ({
        ...other.result(),
        ratio: ratios(us.speeds, other.speeds),
        ...(other.latencies.length > 0 && {
          latencyRatio: ratios(other.latencies, us.latencies.slice(0, other.latencies.length)),
        }),
      })),
      limit: null,
      failed,
    }
  }
}
