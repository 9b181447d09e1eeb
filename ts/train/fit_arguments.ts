/** What fit, validate, test and predict are given: checked and completed. */
import { checkOneOf, checkOptions, checkString, rangeError, typeError } from '../errors.js'
import { checkPath } from '../io/path.js'
import { Module } from '../nn/module.js'
import { LRScheduler, type Scheduler } from '../optim/lr_scheduler.js'
import type { FitOptions } from './options.js'
import { checkSource } from './source.js'
import type {
  DataSource,
  LoopParts,
  SchedulerConfig,
  TrainableOptimizer,
  TrainingModule,
} from './types.js'

/** @throws TypeError, RangeError */
export function prepareFit<B>(
  model: TrainingModule<B>,
  trainData: DataSource<B>,
  validData: DataSource<B> | null,
  options: FitOptions,
): LoopParts<B> {
  checkModel('fit', model, 'trainingStep')
  checkSource('fit', 'trainData', trainData)
  model.checkData?.(trainData)
  if (validData !== null) {
    checkSource('fit', 'validData', validData)
    checkModel('fit', model, 'validationStep')
    model.checkData?.(validData)
  }
  checkOptions('fit', options, ['optimizer', 'scheduler', 'ckptPath'])
  if (options.ckptPath !== undefined) checkpointPath(options.ckptPath)
  const configured = options.optimizer ?? model.configureOptimizers?.()
  const { optimizer, lrScheduler } = isOptimizer(configured)
    ? { optimizer: configured, lrScheduler: undefined }
    : (configured ?? {})
  if (!isOptimizer(optimizer)) {
    throw typeError(
      'fit',
      'options.optimizer',
      'an optimizer (from options or model.configureOptimizers)',
      optimizer,
    )
  }
  const schedule = options.scheduler ?? lrScheduler
  return { model, optimizer, schedule: checkSchedule(schedule), trainData, validData }
}

/** @throws TypeError unless it is a module with this step */
export function checkModel(
  fn: string,
  model: unknown,
  step: 'trainingStep' | 'validationStep' | null,
): void {
  if (!(model instanceof Module)) throw typeError(fn, 'model', 'a module', model)
  if (step === null) return
  const found = (model as unknown as TrainingModule<unknown>)[step]
  if (typeof found !== 'function') throw typeError(fn, `model.${step}`, 'a function', found)
}

export function checkpointPath(path: string | URL): string {
  return checkPath('fit', 'ckptPath', path, 'the path of a checkpoint')
}

function isOptimizer(value: unknown): value is TrainableOptimizer {
  const { step, zeroGrad, lr } = (value ?? {}) as Partial<TrainableOptimizer>
  return typeof step === 'function' && typeof zeroGrad === 'function' && typeof lr === 'number'
}

export function checkSchedule(
  schedule: Scheduler | SchedulerConfig | undefined,
): SchedulerConfig | null {
  if (schedule === undefined) return null
  if (typeof schedule !== 'object' || schedule === null)
    throw typeError('fit', 'scheduler', 'a scheduler', schedule)
  const config: SchedulerConfig = 'scheduler' in schedule ? schedule : { scheduler: schedule }
  checkOptions('fit', config, ['scheduler', 'interval', 'monitor'])
  if (typeof config.scheduler?.step !== 'function')
    throw typeError('fit', 'scheduler', 'a scheduler', config.scheduler)
  if (config.monitor !== undefined) {
    checkString('fit', 'scheduler.monitor', config.monitor)
    if (config.scheduler instanceof LRScheduler)
      throw rangeError(
        'fit',
        'scheduler.monitor',
        'a schedule that watches a metric',
        config.scheduler.constructor.name,
      )
  }
  if (config.interval !== undefined)
    checkOneOf('fit', 'scheduler.interval', config.interval, ['epoch', 'step'])
  return config
}
