/** As `torch.nn.parallel`. */
import { types } from 'node:util'
import { DEFAULT_BUCKET_MB, GradientAverage } from '../distributed/average.js'
import { member } from '../distributed/group.js'
import { sameEverywhere, shareParameters } from '../distributed/same.js'
import { checkBoolean, checkNumber, checkOptions, rangeError, typeError } from '../errors.js'
import { Module } from './module.js'

/** What DistributedDataParallel takes. */
export interface DistributedDataParallelOptions {
  /** Gradients that are averaged together, in MiB; the first bucket has at most 1. Default 25. */
  bucketCapMb?: number
  /**
   * A parameter that a loss does not depend on counts as one with a gradient of zeros. Default false:
   * `backward` throws, with its name.
   */
  findUnusedParameters?: boolean
}

/**
 * A model of which every process has one, trained on a part of each batch; as
 * `torch.nn.parallel.DistributedDataParallel`. It begins with the parameters of rank 0. `backward`
 * leaves in `.grad` the mean of all processes' gradients, which is computed while backward is still
 * running; everything after it (clipping, the optimiser) then does the same everywhere. The model is
 * `.module`, so the names of the parameters begin with `module.`. A sparse gradient (nn.Embedding's
 * `sparse`) becomes a dense one, since the processes have other rows: SparseAdam refuses it then.
 */
export class DistributedDataParallel<M extends Module = Module> extends Module {
  readonly module: M
  readonly #average: GradientAverage

  /**
   * The next promise rejects, in every process, when the models' parameters differ in names, shapes
   * or number.
   * @throws TypeError, RangeError; also without a group (see distributed.init), and for a model that is
   *   in another one of these
   */
  constructor(module: M, options: DistributedDataParallelOptions = {}) {
    super()
    const fn = 'DistributedDataParallel'
    if (!(module instanceof Module)) throw typeError(fn, 'module', 'a module', module)
    checkOptions(fn, options, ['bucketCapMb', 'findUnusedParameters'])
    const bucketCapMb = checkNumber(fn, 'bucketCapMb', options.bucketCapMb ?? DEFAULT_BUCKET_MB, 0)
    const findUnusedParameters = checkBoolean(
      fn,
      'findUnusedParameters',
      options.findUnusedParameters ?? false,
    )
    const trained = module.namedParameters().filter(([, parameter]) => parameter.requiresGrad)
    if (trained.length === 0)
      throw rangeError(fn, 'module', 'at least one parameter that requires a gradient', 'none')
    member(fn)
    this.module = module
    this.#average = new GradientAverage(fn, trained, { bucketCapMb, findUnusedParameters })
    shareParameters(fn, module)
    // On which it depends what is averaged together.
    sameEverywhere(fn, 'options', [`bucketCapMb ${bucketCapMb}`])
  }

  override forward(...inputs: Parameters<M['forward']>): ReturnType<M['forward']> {
    return this.module.forward(...(inputs as never[])) as ReturnType<M['forward']>
  }

  /** @throws TypeError always: clone `.module` */
  protected override newInstance(): never {
    throw new TypeError(
      '[clone] DistributedDataParallel averages gradients of its own model: clone .module',
    )
  }

  /**
   * Runs `f`, in whose backward passes gradients stay this process's own, to be averaged with what the
   * next backward adds; as `no_sync`.
   * @returns what `f` returns
   */
  noSync<T>(f: () => T): T {
    if (typeof f !== 'function') throw typeError('noSync', 'f', 'a function', f)
    this.#average.paused++
    let result: T
    try {
      result = f()
    } catch (error) {
      this.#average.paused--
      throw error
    }
    if (!types.isPromise(result)) {
      this.#average.paused--
      return result
    }
    return result.finally(() => {
      this.#average.paused--
    }) as T
  }
}
