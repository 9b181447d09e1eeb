/** Optimisers, schedules and the trainer. */
import * as library from 'fused-rnn'
import { optim } from 'fused-rnn'
import {
  adam,
  adamOptions,
  assign,
  call,
  copied,
  f,
  g,
  linear,
  type Made,
  make,
  method,
  type Recipe,
  scheduled,
  sgd,
  sgdOptions,
  short,
  trained,
} from './tools.js'

const fitted =
  (options: () => object, given: () => object = () => ({})): Recipe =>
  () => {
    const module = short()
    const settings = {
      optimizer: new optim.SGD(module.parameters()),
      scheduler: new optim.lrScheduler.StepLR(scheduled, 2),
      ...given(),
    }
    return [
      (made, batches, valid, rest) => new library.Trainer(made).fit(module, batches, valid, rest),
      [
        { progressBar: false, maxSteps: 2, ...options() },
        [f(2, 2), f(3, 2)],
        [f(1, 2), f(1, 2)],
        settings,
      ],
    ]
  }
const trainerOptions = {
  maxEpochs: 2,
  maxSteps: 3,
  gradientClipVal: 1,
  gradientClipAlgorithm: 'value',
  nonFinite: 'skip',
  strategy: 'single',
  findUnusedParameters: false,
  timeout: 60_000,
  callbacks: [],
  logger: [],
  progressBar: false,
  logEveryNSteps: 1,
  valCheckInterval: 0.5,
  checkValEveryNEpoch: 1,
  accumulateGradBatches: 2,
  limitTrainBatches: 4,
  limitValBatches: 0.5,
  limitTestBatches: 1,
  limitPredictBatches: 2,
  overfitBatches: 0,
  fastDevRun: false,
  maxTime: '00:00:01:00',
  seed: 3,
}

const { lrScheduler } = optim
/** Nothing is written before the first record. */
const logged = ['logs', { name: 'a', version: 1 }] as const
export const loggers: Record<string, Recipe> = {
  CSVLogger: make(library.CSVLogger, ...logged),
  JSONLLogger: make(library.JSONLLogger, ...logged),
  TensorBoardLogger: make(library.TensorBoardLogger, ...logged),
}

const adamLike = { betas: [0.9, 0.99], eps: 1e-8, weightDecay: 0.1 }
const optimiserOptions = {
  RMSprop: { alpha: 0.9, eps: 1e-8, weightDecay: 0.1, momentum: 0.5, centered: true },
  Adagrad: { lrDecay: 0.1, weightDecay: 0.1, initialAccumulatorValue: 0.1, eps: 1e-8 },
  Adadelta: { rho: 0.9, eps: 1e-6, weightDecay: 0.1 },
  Adamax: adamLike,
  NAdam: { ...adamLike, momentumDecay: 0.01, decoupledWeightDecay: true },
  RAdam: { ...adamLike, decoupledWeightDecay: true },
  ASGD: { lambd: 1e-4, alpha: 0.75, t0: 10, weightDecay: 0.1 },
  Rprop: { etas: [0.5, 1.2], stepSizes: [1e-6, 50] },
}

export const optimisers: Record<string, Recipe> = {
  'optim.SGD': () => [(...args) => stepped(optim.SGD, args), [trained(), { ...sgdOptions }]],
  'optim.Adam': () => [
    (...args) => stepped(optim.Adam, args),
    [trained(), structuredClone(adamOptions)],
  ],
  'optim.AdamW': () => [
    (...args) => stepped(optim.AdamW, args),
    [[{ params: trained(), lr: 0.1 }], structuredClone(adamOptions)],
  ],
  ...Object.fromEntries(
    Object.entries(optimiserOptions).map(([name, options]): [string, Recipe] => [
      `optim.${name}`,
      () => [
        (...args) => stepped(optim[name as keyof typeof optimiserOptions], args),
        [trained(), { lr: 0.1, maximize: false, maxGradNorm: 1, ...structuredClone(options) }],
      ],
    ]),
  ),
  'optim.SparseAdam': () => [
    (...args) => {
      const optimizer = Reflect.construct(optim.SparseAdam, args) as optim.SparseAdam
      optimizer.zeroGrad()
      return optimizer.step()
    },
    [trained(), { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, maximize: false, maxGradNorm: 1 }],
  ],
  'optim.Optimizer.lr=': assign(sgd, 'lr', () => 0.1),
  'optim.Optimizer.maxGradNorm=': assign(sgd, 'maxGradNorm', () => 1),
  'optim.Optimizer.maxGradValue=': assign(sgd, 'maxGradValue', () => 1),
  'optim.Optimizer.addParamGroup': method(sgd, 'addParamGroup', () => [
    { params: [g(2)], lr: 0.1 },
  ]),
  'optim.Optimizer.zeroGrad': method(sgd, 'zeroGrad', () => [{ setToNone: false }]),
  'optim.Optimizer.step': method(sgd, 'step'),
  'optim.Optimizer.step closure': method(sgd, 'step', () => [() => 1]),
  'optim.Optimizer.stateDict': method(adam, 'stateDict'),
  'optim.Optimizer.loadStateDict': () => {
    const optimizer = adam()
    void optimizer.step()
    return [(saved) => optimizer.loadStateDict(saved), [optimizer.stateDict()]]
  },
  'optim.Optimizer group=': () => {
    const optimizer = adam()
    const run = (group: object): unknown => {
      Object.assign(optimizer.paramGroups[0] as object, group)
      return optimizer.step()
    }
    return [
      run as never,
      [structuredClone({ lr: 1, betas: [0.9, 0.99], eps: 1e-8, amsgrad: false })],
    ]
  },
  'optim.lrScheduler.StepLR': scheduler(lrScheduler.StepLR, 2, { gamma: 0.1 }),
  'optim.lrScheduler.MultiStepLR': scheduler(lrScheduler.MultiStepLR, [1, 3], { gamma: 0.1 }),
  'optim.lrScheduler.ExponentialLR': scheduler(lrScheduler.ExponentialLR, 0.5),
  'optim.lrScheduler.CosineAnnealingLR': scheduler(lrScheduler.CosineAnnealingLR, 5, {
    etaMin: 0.01,
  }),
  'optim.lrScheduler.LambdaLR': () => [
    (...args) => Reflect.construct(lrScheduler.LambdaLR, args),
    [sgd(), [(epoch: number) => 1 / (epoch + 1)]],
  ],
  'optim.lrScheduler.ReduceLROnPlateau': scheduler(lrScheduler.ReduceLROnPlateau, {
    mode: 'max',
    factor: 0.5,
    patience: 1,
    threshold: 0.1,
    thresholdMode: 'abs',
    cooldown: 1,
    minLr: 0.1,
    eps: 0.1,
  }),
  'optim.lrScheduler.MultiplicativeLR': () => [
    (...args) => Reflect.construct(lrScheduler.MultiplicativeLR, args),
    [sgd(), [(epoch: number) => 1 / (epoch + 1)]],
  ],
  'optim.lrScheduler.ConstantLR': scheduler(lrScheduler.ConstantLR, { factor: 0.1, totalIters: 2 }),
  'optim.lrScheduler.LinearLR': scheduler(lrScheduler.LinearLR, {
    startFactor: 0.1,
    endFactor: 0.9,
    totalIters: 2,
  }),
  'optim.lrScheduler.PolynomialLR': scheduler(lrScheduler.PolynomialLR, {
    totalIters: 2,
    power: 2,
  }),
  'optim.lrScheduler.CosineAnnealingWarmRestarts': scheduler(
    lrScheduler.CosineAnnealingWarmRestarts,
    3,
    { tMult: 2, etaMin: 0.01 },
  ),
  'optim.lrScheduler.CosineAnnealingWarmRestarts.stateDict': method(restarts, 'stateDict'),
  'optim.lrScheduler.CosineAnnealingWarmRestarts.loadStateDict': method(
    restarts,
    'loadStateDict',
    () => [{ baseLrs: [1], lastEpoch: 3, lastLr: [1], tCur: 1, tI: 2 }],
  ),
  'optim.lrScheduler.CyclicLR': () => [
    (...args) => Reflect.construct(lrScheduler.CyclicLR, args),
    [
      sgd(),
      0.1,
      1,
      {
        stepSizeUp: 2,
        stepSizeDown: 3,
        mode: 'triangular2',
        gamma: 0.9,
        scaleFn: (x: number) => 1 / x,
        scaleMode: 'cycle',
        cycleMomentum: true,
        baseMomentum: 0.5,
        maxMomentum: 0.9,
      },
    ],
  ],
  'optim.lrScheduler.OneCycleLR': scheduler(lrScheduler.OneCycleLR, 1, {
    totalSteps: 20,
    pctStart: 0.3,
    annealStrategy: 'linear',
    cycleMomentum: true,
    baseMomentum: 0.5,
    maxMomentum: 0.9,
    divFactor: 10,
    finalDivFactor: 10,
    threePhase: true,
  }),
  'optim.lrScheduler.SequentialLR': () => {
    const optimizer = sgd()
    const both = [1, 2].map((size) => new lrScheduler.StepLR(optimizer, size))
    return [(...args) => Reflect.construct(lrScheduler.SequentialLR, args), [optimizer, both, [3]]]
  },
  'optim.lrScheduler.ChainedScheduler': () => [
    (...args) => Reflect.construct(lrScheduler.ChainedScheduler, args),
    [[new lrScheduler.StepLR(sgd(), 1)]],
  ],
  'optim.lrScheduler.LRScheduler.step': method(() => new lrScheduler.StepLR(sgd(), 1), 'step'),
  'optim.lrScheduler.LRScheduler.getLastLr': method(
    () => new lrScheduler.StepLR(sgd(), 1),
    'getLastLr',
  ),
  'optim.lrScheduler.LRScheduler.stateDict': method(
    () => new lrScheduler.StepLR(sgd(), 1),
    'stateDict',
  ),
  'optim.lrScheduler.LRScheduler.loadStateDict': method(
    () => new lrScheduler.StepLR(sgd(), 1),
    'loadStateDict',
    () => [{ baseLrs: [1], lastEpoch: 3, lastLr: [1] }],
  ),
  'optim.lrScheduler.ReduceLROnPlateau.step': method(
    () => new lrScheduler.ReduceLROnPlateau(sgd()),
    'step',
    () => [1],
  ),
  'optim.lrScheduler.ReduceLROnPlateau.getLastLr': method(
    () => new lrScheduler.ReduceLROnPlateau(sgd()),
    'getLastLr',
  ),
  'optim.lrScheduler.ReduceLROnPlateau.stateDict': method(
    () => new lrScheduler.ReduceLROnPlateau(sgd()),
    'stateDict',
  ),
  'optim.lrScheduler.ReduceLROnPlateau.loadStateDict': method(
    () => new lrScheduler.ReduceLROnPlateau(sgd()),
    'loadStateDict',
    () => [{ best: null, numBadEpochs: 0, cooldownCounter: 0, lastEpoch: 1, lastLr: [1] }],
  ),
}

function restarts(): optim.lrScheduler.CosineAnnealingWarmRestarts {
  return new lrScheduler.CosineAnnealingWarmRestarts(sgd(), 2)
}

const { swaUtils } = optim
export const averages: Record<string, Recipe> = {
  'optim.swaUtils.AveragedModel': () => [
    (...args) => Reflect.construct(swaUtils.AveragedModel, args),
    [linear(), { multiAvgFn: swaUtils.getEmaMultiAvgFn(0.9), useBuffers: true }],
  ],
  'optim.swaUtils.AveragedModel.forward': method(averaged, 'forward', () => [f(2, 3)] as never),
  'optim.swaUtils.AveragedModel.updateParameters': () => {
    const module = linear()
    const copy = new swaUtils.AveragedModel(module)
    return [(...args) => copy.updateParameters(...(args as [never])), [module]]
  },
  'optim.swaUtils.AveragedModel.loadStateDict': method(averaged, 'loadStateDict', () => [
    averaged().stateDict(),
    { strict: false },
  ]),
  'optim.swaUtils.SWALR': scheduler(swaUtils.SWALR, 0.1, {
    annealEpochs: 2,
    annealStrategy: 'linear',
  }),
  'optim.swaUtils.updateBn': call(swaUtils.updateBn, () => [[f(2, 3)], linear()]),
  'optim.swaUtils.getEmaMultiAvgFn': call(swaUtils.getEmaMultiAvgFn, () => [0.9]),
  'optim.swaUtils.getSwaMultiAvgFn': call(swaUtils.getSwaMultiAvgFn, () => []),
  'optim.swaUtils.getEmaAvgFn': call(swaUtils.getEmaAvgFn, () => [0.9]),
  'optim.swaUtils.getSwaAvgFn': call(swaUtils.getSwaAvgFn, () => []),
  StochasticWeightAveraging: make(library.StochasticWeightAveraging, {
    swaLrs: 0.1,
    swaEpochStart: 0.5,
    annealingEpochs: 2,
    annealingStrategy: 'linear',
  }),
  'StochasticWeightAveraging.stateDict': method(swa, 'stateDict'),
  'StochasticWeightAveraging.loadStateDict': method(swa, 'loadStateDict', () => [
    { nAveraged: 0, latestUpdateEpoch: -1, averages: null, schedule: null },
  ]),
}

function averaged(): optim.swaUtils.AveragedModel {
  return new swaUtils.AveragedModel(linear())
}

function swa(): library.StochasticWeightAveraging {
  return new library.StochasticWeightAveraging({ swaLrs: 0.1 })
}

/** An optimiser, and a step of it. */
function stepped(type: Made, args: unknown[]): unknown {
  const optimizer: optim.Optimizer = Reflect.construct(type as never, args)
  return optimizer.step()
}

function scheduler(type: Made, ...args: unknown[]): Recipe {
  return () => [
    (...given) => {
      const made: optim.lrScheduler.Scheduler = Reflect.construct(type as never, given)
      if (made instanceof lrScheduler.ReduceLROnPlateau) made.step(1)
      else made.step()
      return made.getLastLr()
    },
    [sgd(), ...copied(args)],
  ]
}

export const training: Record<string, Recipe> = {
  Trainer: make(library.Trainer, trainerOptions),
  'Trainer.fit': fitted(() => structuredClone(trainerOptions)),
  'Trainer.fit callbacks': fitted(
    () => ({
      callbacks: [new library.EarlyStopping({ monitor: 'trainLoss' }), new library.History()],
    }),
    () => ({
      scheduler: {
        scheduler: new optim.lrScheduler.ReduceLROnPlateau(scheduled),
        interval: 'epoch',
        monitor: 'trainLoss',
      },
    }),
  ),
  'Trainer.validate': method(
    () => new library.Trainer({ progressBar: false }),
    'validate',
    () => [short(), [f(2, 2)]],
  ),
  'Trainer.test': method(
    () => new library.Trainer({ progressBar: false }),
    'test',
    () => [short(), [f(2, 2)]],
  ),
  'Trainer.predict': method(
    () => new library.Trainer({ progressBar: false }),
    'predict',
    () => [short(), [f(2, 2)]],
  ),
  'Trainer.logMetrics': method(
    () => new library.Trainer(),
    'logMetrics',
    () => [{ mine: 1 }],
  ),
  LearningRateMonitor: make(library.LearningRateMonitor, {
    loggingInterval: 'step',
    logMomentum: true,
  }),
  'Trainer.saveCheckpoint': method(
    () => new library.Trainer(),
    'saveCheckpoint',
    () => ['checkpoint'],
  ),
  EarlyStopping: make(library.EarlyStopping, {
    monitor: 'valLoss',
    minDelta: 0,
    patience: 1,
    mode: 'max',
    checkFinite: true,
    stoppingThreshold: 3,
    divergenceThreshold: 0,
    restoreBestWeights: false,
  }),
  'EarlyStopping.stateDict': method(() => new library.EarlyStopping(), 'stateDict'),
  'EarlyStopping.loadStateDict': method(
    () => new library.EarlyStopping(),
    'loadStateDict',
    () => [{ bestScore: 1, waitCount: 1 }],
  ),
  ModelCheckpoint: make(library.ModelCheckpoint, {
    dirpath: 'x',
    monitor: 'a',
    mode: 'max',
    saveLast: true,
    everyNTrainSteps: 1,
    everyNEpochs: 1,
    saveTopK: 2,
  }),
  'ModelCheckpoint.stateDict': method(
    () => new library.ModelCheckpoint({ dirpath: 'x' }),
    'stateDict',
  ),
  'ModelCheckpoint.loadStateDict': method(
    () => new library.ModelCheckpoint({ dirpath: 'x' }),
    'loadStateDict',
    () => [{ bestModelPath: 'x', bestModelScore: 1 }],
  ),
  ProgressBar: make(library.ProgressBar, { everyNEpochs: 1 }),
  'ProgressBar.stop': method(() => new library.ProgressBar(), 'stop'),
  History: make(library.History),
  'History.fromJSON': call(library.History.fromJSON, () => [
    [{ kind: 'step', epoch: 0, step: 1, metrics: { trainLoss: 1 } }],
  ]),
  'History.add': method(
    () => new library.History(),
    'add',
    () => [{ kind: 'epoch', epoch: 0, step: 1, metrics: { trainLoss: 1 } }],
  ),
  'History.series': method(history, 'series', () => ['trainLoss', 'step']),
  'History.toCSV': method(history, 'toCSV'),
  'History.toSVG': method(history, 'toSVG', () => [
    { metric: 'loss', width: 200, height: 200, title: 'x' },
  ]),
  'History.toJSON': method(history, 'toJSON'),
  'History.writeCSV': method(history, 'writeCSV', () => ['history.csv']),
  'History.writeSVG': method(history, 'writeSVG', () => ['history.svg', { metric: 'loss' }]),
}

function history(): library.History {
  const made = new library.History()
  made.add({ kind: 'step', epoch: 0, step: 1, metrics: { trainLoss: 1 } })
  return made
}
