/** A fit in several processes. */
import { binding } from '../../binding.js'
import { TextBatches } from '../../data/batches.js'
import { BucketBatches } from '../../data/buckets.js'
import { DistributedBatches } from '../../data/distributed.js'
import { columnsOf } from '../../data/epochs.js'
import { IndexedBatches } from '../../data/indexed_batches.js'
import { DEFAULT_BUCKET_MB, GradientAverage } from '../../distributed/average.js'
import {
  allGatherConcat,
  allGatherNumbers,
  allReduceMax,
  broadcastJson,
} from '../../distributed/exchange.js'
import { member } from '../../distributed/group.js'
import { sameEverywhere, shareParameters } from '../../distributed/same.js'
import { rangeError } from '../../errors.js'
import { tensor } from '../../factories.js'
import type { Module } from '../../nn/module.js'
import { randomState, setRandomState } from '../../random.js'
import { Tensor } from '../../tensor.js'
import { tensorsOf } from '../carried.js'
import type { Receive, Totals } from '../meter.js'
import { lengthOf } from '../source.js'
import type { Carried, DataSource, LoopParts, TrainerSettings } from '../types.js'
import { DdpMeter, flagsOf, requestIn } from './ddp_meter.js'
import type { StopRequest, Strategy } from './strategy.js'

const FN = 'fit'

/** Several processes, each with a part of every batch; as Lightning's `DDPStrategy`. */
export class DdpStrategy implements Strategy {
  readonly stopsAlone = false
  readonly #rank: number
  readonly #size: number
  readonly #findUnusedParameters: boolean
  /** Why training is to end, once all know it. */
  #stop: StopRequest | null = null
  #average: GradientAverage | null = null

  constructor(findUnusedParameters: boolean) {
    ;[this.#rank, this.#size] = member(FN)
    this.#findUnusedParameters = findUnusedParameters
  }

  get isGlobalZero(): boolean {
    return this.#rank === 0
  }

  async divide<B>(parts: LoopParts<B>, settings: TrainerSettings): Promise<LoopParts<B>> {
    const trainData = await this.#partOf('trainData', parts.trainData)
    const validData = parts.validData && (await this.#partOf('validData', parts.validData))
    const { maxEpochs, maxSteps, logEveryNSteps, valCheckInterval, nonFinite } = settings
    sameEverywhere(FN, 'what fit was given', [
      `maxEpochs ${maxEpochs}`,
      `maxSteps ${maxSteps}`,
      `logEveryNSteps ${logEveryNSteps}`,
      `valCheckInterval ${valCheckInterval}, checkValEveryNEpoch ${settings.checkValEveryNEpoch}`,
      `nonFinite '${nonFinite}'`,
      `accumulateGradBatches ${settings.accumulateGradBatches}`,
      `limitTrainBatches ${settings.limitTrainBatches}, limitValBatches ${settings.limitValBatches}`,
      `overfitBatches ${settings.overfitBatches}`,
      `trainData of ${lengthOf(trainData) ?? 'some'} batches`,
      validData === null ? 'no validData' : 'validData',
    ])
    await binding.synchronize(-1)
    return { ...parts, trainData, validData }
  }

  createMeter(receive: Receive, requested: () => StopRequest | null): DdpMeter {
    return new DdpMeter(receive, requested, (flags) => this.#hear(flags))
  }

  async #partOf<B>(name: string, data: DataSource<B>): Promise<DataSource<B>> {
    const whole: unknown = data
    if (whole instanceof IndexedBatches) {
      if (name === 'validData' && whole.batchSize < this.#size) return data
      const part = whole.ofPart({ rank: this.#rank, size: this.#size })
      const { seed } = await broadcastJson(FN, whole.state(), this.#rank)
      part.restore({ ...whole.state(), seed })
      return part as unknown as DataSource<B>
    }
    if (!(whole instanceof TextBatches) && !(whole instanceof BucketBatches)) return data
    // Validation of a short text: every process reads all of it.
    if (name === 'validData' && whole.batchSize < this.#size) return data
    const part = new DistributedBatches(whole, { rank: this.#rank, numReplicas: this.#size })
    const state = await broadcastJson(FN, whole.state(), this.#rank)
    whole.restore({ ...whole.state(), seed: state.seed })
    return part as unknown as DataSource<B>
  }

  /** Gives the model the parameters of rank 0, and every process random numbers of its own. */
  async setup(model: Module): Promise<void> {
    shareParameters(FN, model)
    const { seed, counter } = await broadcastJson(FN, randomState(), this.#rank)
    setRandomState({ seed: (seed + this.#rank) % 2 ** 53, counter })
  }

  averageGradients(model: Module): void {
    this.#average?.stop()
    const trained = model.namedParameters().filter(([, parameter]) => parameter.requiresGrad)
    this.#average = new GradientAverage(FN, trained, {
      bucketCapMb: DEFAULT_BUCKET_MB,
      findUnusedParameters: this.#findUnusedParameters,
    })
  }

  setLossWeight(count: number): void {
    if (this.#average !== null) this.#average.weight = count
  }

  async agree(requested: StopRequest | null): Promise<void> {
    this.#hear(await allReduceMax(FN, flagsOf(requested)))
  }

  stopReason(): StopRequest | null {
    return this.#stop
  }

  #hear(flags: readonly number[]): void {
    this.#stop ??= requestIn(flags)
  }

  async any(value: boolean): Promise<boolean> {
    return (await allReduceMax(FN, [Number(value)]))[0] === 1
  }

  async checkSameEnd(done: boolean, batch: number): Promise<void> {
    const ends = (await allGatherNumbers(FN, [Number(done)])).map(([end]) => end === 1)
    if (!ends.includes(true) || !ends.includes(false)) return
    throw rangeError(
      FN,
      'trainData',
      'as many batches in all processes',
      `no more than ${batch} on rank ${ends.indexOf(true)}, more on rank ${ends.indexOf(false)}`,
    )
  }

  async total({ count, sums, counts }: Totals): Promise<Totals> {
    const names = Object.keys(sums)
    const own = names.flatMap((name) => [sums[name] as number, counts[name] ?? count])
    const all = await allGatherNumbers(FN, [count, ...own])
    const added = (i: number): number => all.reduce((sum, one) => sum + (one[i] as number), 0)
    return {
      count: added(0),
      sums: Object.fromEntries(names.map((name, i) => [name, added(2 * i + 1)])),
      counts: Object.fromEntries(names.map((name, i) => [name, added(2 * i + 2)])),
    }
  }

  /** The processes' columns, one after the other in the batch's dimension. */
  async gather(carried: Carried): Promise<Carried> {
    const own = tensorsOf(carried)
    const divided = own.filter(isDivided)
    const whole = (await allGatherConcat(FN, divided, batchDim)).map(({ values, shape }) =>
      tensor(values, { shape, device: 'cpu' }),
    )
    const all = own.map((x) => (isDivided(x) ? (whole.shift() as Tensor) : x))
    return carried === null || Array.isArray(carried) ? carried && all : (all[0] as Tensor)
  }

  partOf(carried: Carried): Carried {
    const own = (x: Tensor): Tensor => {
      if (!isDivided(x)) return x
      const dim = batchDim(x)
      const all = x.shape[dim] as number
      const part = x.slice(dim, ...columnsOf(all, { rank: this.#rank, size: this.#size }))
      x[Symbol.dispose]()
      return part
    }
    if (carried === null) return null
    return carried instanceof Tensor ? own(carried) : carried.map(own)
  }

  /**
   * Tells the others, who wait, when this process ends, whatever its exit code is. It does not wait
   * for its own queue, which may wait for processes that have ended.
   */
  async onException(error: unknown): Promise<void> {
    const message = error instanceof Error ? error.message : String(error)
    binding.breakGroup(`training has failed: ${message}`)
  }

  teardown(): void {
    this.#average?.stop()
    this.#average = null
  }
}

/** Whether each process carries its own columns: (layers, B, H), as layers do, or (B, H), as cells. */
function isDivided(x: Tensor): boolean {
  return x.dtype === 'float32' && (x.shape.length === 3 || x.shape.length === 2)
}

function batchDim(x: Tensor): number {
  return x.shape.length - 2
}
