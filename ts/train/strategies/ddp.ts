/** A fit in several processes: what each trains with, and what they have to agree on. */
import { binding } from '../../binding.js'
import { TextBatches } from '../../data/batches.js'
import { BucketBatches } from '../../data/buckets.js'
import { DistributedBatches } from '../../data/distributed.js'
import { columnsOf } from '../../data/epochs.js'
import { DEFAULT_BUCKET_MB, GradientAverage } from '../../distributed/average.js'
import { everybodys, fromFirst, largest, sideBySide } from '../../distributed/exchange.js'
import { backendFor, init, isInitialized, member } from '../../distributed/group.js'
import { sameEverywhere, shareParameters } from '../../distributed/same.js'
import { rangeError } from '../../errors.js'
import { tensor } from '../../factories.js'
import type { Module } from '../../nn/module.js'
import { randomState, setRandomState } from '../../random.js'
import { Tensor } from '../../tensor.js'
import { lengthOf, tensorsOf } from '../evaluate.js'
import type { LoopParts } from '../loop.js'
import type { Totals } from '../meter.js'
import type { TrainerSettings } from '../options.js'
import type { Carried, DataSource, StopReason } from '../types.js'

const FN = 'fit'

/** Reasons that one process may have to stop, the stronger first. */
const ASKED = ['aborted', 'shouldStop'] as const
export type Asked = (typeof ASKED)[number]

/** The processes that fit trains with. */
export class Team {
  readonly rank: number
  readonly size: number
  /** Why training is to end, once all know it. */
  stop: StopReason | null = null
  readonly #findUnusedParameters: boolean
  #average: GradientAverage | null = null

  private constructor(findUnusedParameters: boolean) {
    ;[this.rank, this.size] = member(FN)
    this.#findUnusedParameters = findUnusedParameters
  }

  /**
   * Null for a process that trains alone.
   * @param device of the model
   */
  static async join(
    { strategy, findUnusedParameters }: TrainerSettings,
    device: string | null,
  ): Promise<Team | null> {
    if (strategy === 'single') return null
    if (!isInitialized()) {
      if (strategy === 'auto' && binding.launchedProcesses() === 1) return null
      await init({ backend: backendFor(device) })
    }
    const team = new Team(findUnusedParameters)
    return team.size === 1 ? null : team
  }

  /**
   * This process's part of the data; orders are those of rank 0.
   * @throws (rejects) RangeError when the processes do not fit together
   */
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
      `trainData of ${lengthOf(trainData) ?? 'some'} batches`,
      validData === null ? 'no validData' : 'validData',
    ])
    await binding.synchronize(-1)
    return { ...parts, trainData, validData }
  }

  async #partOf<B>(name: string, data: DataSource<B>): Promise<DataSource<B>> {
    const whole: unknown = data
    if (!(whole instanceof TextBatches) && !(whole instanceof BucketBatches)) return data
    // Validation of a short text: everybody reads all of it.
    if (name === 'validData' && whole.batchSize < this.size) return data
    const { rank, size } = this
    const part = new DistributedBatches(whole, { rank, numReplicas: size })
    const state = await fromFirst(FN, whole.state(), rank)
    whole.restore({ ...whole.state(), seed: state.seed })
    return part as unknown as DataSource<B>
  }

  /** Gives the model the parameters of rank 0, and every process random numbers of its own. */
  async begin(model: Module): Promise<void> {
    shareParameters(FN, model)
    const { seed, counter } = await fromFirst(FN, randomState(), this.rank)
    setRandomState({ seed: (seed + this.rank) % 2 ** 53, counter })
  }

  /** From now on backward averages the gradients of the parameters that the model trains now. */
  listen(model: Module): void {
    this.#average?.stop()
    const trained = model.namedParameters().filter(([, parameter]) => parameter.requiresGrad)
    this.#average = new GradientAverage(FN, trained, {
      bucketCapMb: DEFAULT_BUCKET_MB,
      findUnusedParameters: this.#findUnusedParameters,
    })
  }

  /** How many examples the next loss is the mean of. */
  set weight(count: number) {
    if (this.#average !== null) this.#average.weight = count
  }

  end(): void {
    this.#average?.stop()
    this.#average = null
  }

  /** Tells the others, who wait, when this process ends, whatever its exit code is. */
  fail(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    binding.breakGroup(`training has failed: ${message}`)
  }

  /** Settles when all know whether one of them wants to stop. */
  async agree(asked: Asked | null): Promise<void> {
    this.heard(await largest(FN, flagsOf(asked)))
  }

  /** Whether it is so in any process. */
  async any(value: boolean): Promise<boolean> {
    return (await largest(FN, [Number(value)]))[0] === 1
  }

  /** @param flags as flagsOf, added up or the largest */
  heard(flags: readonly number[]): void {
    this.stop ??= ASKED.find((_, i) => (flags[i] as number) > 0) ?? null
  }

  /** @throws (rejects) RangeError unless all have a batch, or none has */
  async sameEnd(done: boolean, batch: number): Promise<void> {
    const ends = (await everybodys(FN, [Number(done)])).map(([end]) => end === 1)
    if (!ends.includes(true) || !ends.includes(false)) return
    throw rangeError(
      FN,
      'trainData',
      'as many batches in all processes',
      `no more than ${batch} on rank ${ends.indexOf(true)}, more on rank ${ends.indexOf(false)}`,
    )
  }

  /** Sums over all processes. */
  async total({ count, sums }: Totals): Promise<Totals> {
    const names = Object.keys(sums)
    const all = await everybodys(FN, [count, ...Object.values(sums)])
    const added = (i: number): number => all.reduce((sum, own) => sum + (own[i] as number), 0)
    return {
      count: added(0),
      sums: Object.fromEntries(names.map((name, i) => [name, added(i + 1)])),
    }
  }

  /** What all carry, as one process would have: side by side in the batch's dimension. */
  async gather(carried: Carried): Promise<Carried> {
    const own = tensorsOf(carried)
    const divided = own.filter(isDivided)
    const whole = (await sideBySide(FN, divided, batchDim)).map(({ values, shape }) =>
      tensor(values, { shape, device: 'cpu' }),
    )
    const all = own.map((x) => (isDivided(x) ? (whole.shift() as Tensor) : x))
    return carried === null || Array.isArray(carried) ? carried && all : (all[0] as Tensor)
  }

  /** This process's part of what {@link gather} gave. */
  partOf(carried: Carried): Carried {
    const own = (x: Tensor): Tensor => {
      if (!isDivided(x)) return x
      const dim = batchDim(x)
      const part = x.slice(dim, ...columnsOf(x.shape[dim] as number, this))
      x[Symbol.dispose]()
      return part
    }
    if (carried === null) return null
    return carried instanceof Tensor ? own(carried) : carried.map(own)
  }
}

export function flagsOf(asked: Asked | null): number[] {
  return ASKED.map((reason) => Number(reason === asked))
}

/** Whether each process carries its own columns: (layers, B, H), as layers do, or (B, H), as cells. */
function isDivided(x: Tensor): boolean {
  return x.dtype === 'float32' && (x.shape.length === 3 || x.shape.length === 2)
}

function batchDim(x: Tensor): number {
  return x.shape.length - 2
}
