/** Averages of weights over a training; as `torch.optim.swa_utils`. */
import {
  checkBoolean,
  checkInteger,
  checkIterable,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import { tensor } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import { evalMode, type IncompatibleKeys, type LoadStateDictOptions, Module } from '../nn/module.js'
import { Parameter } from '../nn/parameter.js'
import { copyInto, fillInto } from '../ops/in_place.js'
import { Tensor } from '../tensor.js'
import { lerpInto } from './lerp.js'
import { groupsOf, type HasLearningRate, LRScheduler, perGroup } from './schedules/base.js'

/** Gives the new average of one parameter, which is a tensor of its own. */
export type AvgFn = (averaged: Tensor, current: Tensor, numAveraged: number) => Tensor
/** Changes the averages of many parameters in place. */
export type MultiAvgFn = (
  averaged: readonly Tensor[],
  current: readonly Tensor[],
  numAveraged: number,
) => void

function checkDecay(fn: string, decay: number): number {
  return checkNumber(fn, 'decay', decay, 0, 1)
}

/** Exponential moving averages: decay · averaged + (1 − decay) · current; as `get_ema_multi_avg_fn`. */
export function getEmaMultiAvgFn(decay = 0.999): MultiAvgFn {
  checkDecay('getEmaMultiAvgFn', decay)
  return (averaged, current) => lerpInto(averaged, current, 1 - decay)
}

/** The plain mean of all updates; as `get_swa_multi_avg_fn`. */
export function getSwaMultiAvgFn(): MultiAvgFn {
  return (averaged, current, numAveraged) => lerpInto(averaged, current, 1 / (numAveraged + 1))
}

/** As {@link getEmaMultiAvgFn}, for one parameter at a time; as `get_ema_avg_fn`. */
export function getEmaAvgFn(decay = 0.999): AvgFn {
  checkDecay('getEmaAvgFn', decay)
  return (averaged, current) => averaged.mul(decay).add(current.mul(1 - decay))
}

/** As {@link getSwaMultiAvgFn}, for one parameter at a time; as `get_swa_avg_fn`. */
export function getSwaAvgFn(): AvgFn {
  return (averaged, current, numAveraged) =>
    averaged.add(current.sub(averaged).div(numAveraged + 1))
}

/** Writes a number into an int32 tensor of one element. */
function putCount(fn: string, to: Tensor, count: number): void {
  using value = tensor(count, { dtype: 'int32', device: to.device })
  copyInto(fn, to, value.buffer)
}

/** What {@link AveragedModel} takes. */
export interface AveragedModelOptions {
  /** How to average one parameter. */
  avgFn?: AvgFn
  /** How to average all: {@link getEmaMultiAvgFn}, or the default, {@link getSwaMultiAvgFn}. */
  multiAvgFn?: MultiAvgFn
  /** Average buffers, too, instead of taking them over. Default false. */
  useBuffers?: boolean
}

/**
 * A copy of a model with the averages of its weights; as `torch.optim.swa_utils.AveragedModel`. Its
 * state dict has `n_averaged` and the copy's entries under `module.`.
 */
export class AveragedModel<M extends Module = Module> extends Module {
  /** How many updates there have been, as PyTorch has it: int32, shape (). */
  readonly n_averaged: Tensor = Parameter(tensor(0, { dtype: 'int32', device: 'cpu' }), false)
  /** The copy. */
  readonly module: M
  readonly #avgFn: AvgFn | null
  readonly #multiAvgFn: MultiAvgFn
  readonly #useBuffers: boolean
  /** n_averaged; a promise of it after a state dict has been loaded. */
  #count: number | Promise<number> = 0

  /** @throws TypeError */
  constructor(model: M, options: AveragedModelOptions = {}) {
    super()
    const fn = 'AveragedModel'
    if (!(model instanceof Module)) throw typeError(fn, 'model', 'a module', model)
    checkOptions(fn, options, ['avgFn', 'multiAvgFn', 'useBuffers'])
    const { avgFn, multiAvgFn, useBuffers = false } = options
    for (const [name, value] of Object.entries({ avgFn, multiAvgFn }))
      if (value !== undefined && typeof value !== 'function')
        throw typeError(fn, name, 'a function', value)
    if (avgFn !== undefined && multiAvgFn !== undefined)
      throw rangeError(fn, 'avgFn', 'it or multiAvgFn', 'both')
    this.#avgFn = avgFn ?? null
    this.#multiAvgFn = multiAvgFn ?? getSwaMultiAvgFn()
    this.#useBuffers = checkBoolean(fn, 'useBuffers', useBuffers)
    this.module = model.clone() as M
  }

  override forward(...args: Parameters<M['forward']>): ReturnType<M['forward']> {
    return (this.module.forward as (...args: never[]) => ReturnType<M['forward']>)(
      ...(args as never[]),
    )
  }

  /**
   * Takes the model's weights into the averages: the first time as they are. Done at the call; only
   * the first call after loadStateDict has to wait for the number of updates, so await it.
   * @throws RangeError unless it is a model as the one that was copied
   */
  updateParameters(model: Module): Promise<void> {
    const fn = 'updateParameters'
    if (!(model instanceof Module)) throw typeError(fn, 'model', 'a module', model)
    const [own, theirs] = [this.module.stateDict(), model.stateDict()]
    for (const [name, { shape, dtype }] of own) {
      const there = theirs.get(name)
      if (there?.dtype !== dtype || String(there.shape) !== String(shape))
        throw rangeError(fn, 'model', `a model with '${name}' as in the copy`, 'another')
    }
    if (typeof this.#count === 'number') {
      this.#update(own, theirs, model, this.#count)
      return Promise.resolve()
    }
    const kept = new Map([...theirs].map(([name, value]) => [name, value.clone()]))
    return this.#count.then((count) => {
      this.#update(own, kept, model, count)
      for (const value of kept.values()) value[Symbol.dispose]()
    })
  }

  #update(
    own: ReadonlyMap<string, Tensor>,
    theirs: ReadonlyMap<string, Tensor>,
    model: Module,
    count: number,
  ): void {
    const parameters = new Set(model.namedParameters().map(([name]) => name))
    const averaged: Tensor[] = []
    const current: Tensor[] = []
    noGrad(() => {
      for (const [name, to] of own) {
        const from = (theirs.get(name) as Tensor).to(to.device)
        const averages = to.dtype === 'float32' && (parameters.has(name) || this.#useBuffers)
        if (count === 0 || !averages) copyInto('updateParameters', to, from.buffer)
        else {
          averaged.push(to)
          current.push(from)
        }
      }
      if (this.#avgFn === null) this.#multiAvgFn(averaged, current, count)
      else for (const [i, to] of averaged.entries()) this.#replace(to, current[i] as Tensor, count)
    })
    this.#count = count + 1
    putCount('updateParameters', this.n_averaged, count + 1)
  }

  #replace(to: Tensor, current: Tensor, count: number): void {
    const next = (this.#avgFn as AvgFn)(to, current, count)
    if (!(next instanceof Tensor) || String(next.shape) !== String(to.shape))
      throw rangeError('AveragedModel', 'avgFn', `a tensor of shape (${to.shape})`, String(next))
    copyInto('updateParameters', to, next.buffer)
  }

  override loadStateDict(
    state: ReadonlyMap<string, Tensor>,
    options: LoadStateDictOptions = {},
  ): IncompatibleKeys {
    const result = super.loadStateDict(state, options)
    const count = this.n_averaged.item()
    count.catch(() => {}) // reported where it is awaited
    this.#count = count
    void count.then(
      (known) => {
        if (this.#count === count) this.#count = known
      },
      () => {},
    )
    return result
  }

  /** A copy of the averages, too. */
  protected override newInstance(): this {
    const options = {
      ...(this.#avgFn === null ? { multiAvgFn: this.#multiAvgFn } : { avgFn: this.#avgFn }),
      useBuffers: this.#useBuffers,
    }
    const copy = new AveragedModel(this.module, options)
    copy.#count = this.#count
    return copy as this
  }
}

/** A batch normalisation's running statistics. */
interface Statistics {
  running_mean: Tensor
  running_var: Tensor
  num_batches_tracked: Tensor
  momentum: number | null
}

function hasStatistics(module: Module): module is Module & Statistics {
  return (module as Module & Partial<Statistics>).running_mean instanceof Tensor
}

/**
 * Computes the running statistics of a model's batch normalisations anew, as the mean over all
 * batches; as `update_bn`. Models without them are left as they are.
 * @param loader batches: what forward takes, or arrays that begin with it
 * @throws (rejects) TypeError, RangeError
 */
export async function updateBn(
  loader: Iterable<unknown> | AsyncIterable<unknown>,
  model: Module,
): Promise<void> {
  const fn = 'updateBn'
  if (!(model instanceof Module)) throw typeError(fn, 'model', 'a module', model)
  if (typeof loader !== 'object' || loader === null || !(Symbol.asyncIterator in loader))
    checkIterable(fn, 'loader', loader, 'an iterable of batches')
  const found = model.modules().filter(hasStatistics)
  if (found.length === 0) return
  const momenta = found.map((module) => module.momentum)
  const restoreModes = evalMode(model)
  try {
    for (const module of found) {
      fillInto(fn, module.running_mean, 0)
      fillInto(fn, module.running_var, 1)
      putCount(fn, module.num_batches_tracked, 0)
      module.momentum = null
    }
    model.train()
    await noGrad(async () => {
      for await (const batch of loader)
        model.forward((Array.isArray(batch) ? batch[0] : batch) as never)
    })
  } finally {
    restoreModes()
    found.forEach((module, i) => {
      module.momentum = momenta[i] as number | null
    })
  }
}

/** What {@link SWALR} takes. */
export interface SWALROptions {
  /** Epochs on the way to swaLr; 0: at once. Default 10. */
  annealEpochs?: number
  /** Along a cosine or a straight line. Default 'cos'. */
  annealStrategy?: 'cos' | 'linear'
}

/** From the learning rate that there is to `swaLr`, where it stays; as `SWALR`. */
export class SWALR extends LRScheduler {
  readonly swaLrs: readonly number[]
  readonly annealEpochs: number
  readonly #cosine: boolean

  /**
   * @param swaLr for all groups, or each
   * @throws TypeError, RangeError
   */
  constructor(
    optimizer: HasLearningRate,
    swaLr: number | readonly number[],
    options: SWALROptions = {},
  ) {
    const fn = 'SWALR'
    super(fn, optimizer)
    checkOptions(fn, options, ['annealEpochs', 'annealStrategy'])
    this.swaLrs = perGroup(fn, 'swaLr', swaLr, groupsOf(optimizer).length, 0)
    this.annealEpochs = checkInteger(fn, 'annealEpochs', options.annealEpochs ?? 10, 0)
    const strategies = ['cos', 'linear'] as const
    this.#cosine =
      checkOneOf(fn, 'annealStrategy', options.annealStrategy ?? 'cos', strategies) === 'cos'
    this.begin()
  }

  protected override next(lr: number, _baseLr: number, group: number): number {
    // As if the first call were the second where there is nothing to anneal.
    const epoch = this.annealEpochs === 0 ? Math.max(1, this.lastEpoch) : this.lastEpoch
    const length = Math.max(1, this.annealEpochs)
    const part = (at: number): number => this.#annealed(Math.max(0, Math.min(1, at / length)))
    const [before, now] = [part(epoch - 1), part(epoch)]
    const swaLr = this.swaLrs[group] as number
    if (before === 1) return swaLr
    const initial = (lr - before * swaLr) / (1 - before)
    return now * swaLr + (1 - now) * initial
  }

  #annealed(part: number): number {
    return this.#cosine ? (1 - Math.cos(Math.PI * part)) / 2 : part
  }
}
