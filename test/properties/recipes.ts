/** A right call of every function that the package exports, to be made wrong; see arguments.ts. */
import * as library from 'fused-rnn'
import { gradients } from './recipes/autograd.js'
import { processes } from './recipes/distributed.js'
import { elementwise } from './recipes/elementwise.js'
import { layers, modules, sequences } from './recipes/layers.js'
import { losses, sequenceLayers } from './recipes/losses.js'
import { allMetrics } from './recipes/metrics.js'
import { tasks } from './recipes/tasks.js'
import { context, factories, tensors } from './recipes/tensors.js'
import { exchange, texts, wholeModels } from './recipes/texts.js'
import type { Recipe } from './recipes/tools.js'
import { averages, loggers, optimisers, training } from './recipes/training.js'

export const recipes: Record<string, Recipe> = {
  ...factories,
  ...context,
  ...tensors,
  ...gradients,
  ...layers,
  ...elementwise,
  ...losses,
  ...sequenceLayers,
  ...modules,
  ...sequences,
  ...processes,
  ...optimisers,
  ...averages,
  ...loggers,
  ...exchange,
  ...texts,
  ...training,
  ...wholeModels,
  ...allMetrics,
  ...tasks,
}

/** What is exported and needs no recipe: what only subclasses and the trainer call, and bases. */
const NOT_CALLED = [
  /^(Tensor|nn\.(Module|RecurrentLayer|RecurrentCell)|data\.(EpochBatches|TextBatches|IndexedBatches)|models\.(TaskModel|Forecast|ForecastStream|AnomalyStream|RecognitionStream)|metrics\.Metric|optim\.(Optimizer|lrScheduler\.LRScheduler))$/,
  /^Tensor\.(wrap|ofRows|share|dropGrad|attach|viewAs|moveTo)$/,
  /\.(on[A-Z]\w*|arrangement|checkPlace|checkMove|createParameters|stackCall|partsOfState|moveTensors|newInstance|toJSON|step|run|next|apply|checkTogether|stateKeys|gradientKinds|update|later|total|counts|ofPart|orderOf|makeBatch|saved|savedModel|kind|build|layers|options|toOnnx|learnData|read|scores|scoresOf|errors|windowsOf|windowScores|ownTokens|sourceOf|writeFiles|logProbs|width)$/,
  /^\w+Logger\.(write|cut|logMetrics)$/,
  /^optim\.\w+\.(call|numbers|firstNumbers|firstTensor)$/,
  /^optim\.lrScheduler\.\w+\.(first|base|setRates|begin|restart)$/,
  // Under its other name.
  /^models\.OnlineLearner/,
  /^nn\.init\.uniformParameter$/,
  // What the tape calls.
  /^Tensor\.(changed|over)$/,
  // What users define, and what any number of tensors go into.
  /^autograd\.(Function|FunctionContext)(\.(forward|backward|saveForBackward|markNonDifferentiable))?$/,
  // One at a time; what only a profile that has ended has.
  /^autograd\.profiler\.(profile(\.keyAverages)?|EventAverages)$/,
  // They need a group, which test/distributed.test.ts makes.
  /^distributed\.init(ProcessGroup)?$/,
  /^nn\.parallel\.DistributedDataParallel\.(noSync|forward)$/,
]

/** The classes of ts/tensor, over which a tensor's methods are spread. */
function basesOf(prototype: object): object[] {
  const base: object = Object.getPrototypeOf(prototype)
  return base === Object.prototype ? [] : [base, ...basesOf(base)]
}

/** The exported functions, constructors and methods that have no recipe. */
export function forgotten(): string[] {
  const names: string[] = []
  const visit = (value: unknown, name: string): void => {
    if (typeof value === 'function') {
      names.push(name)
      const own = [value, value.prototype].filter(Boolean)
      if (!/^class/.test(Function.prototype.toString.call(value))) return
      if (value === library.Tensor) own.push(...basesOf(value.prototype))
      for (const object of own)
        for (const [key, { value: member }] of Object.entries(
          Object.getOwnPropertyDescriptors(object),
        ))
          if (typeof member === 'function' && key !== 'constructor') names.push(`${name}.${key}`)
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, member] of Object.entries(value))
        visit(member, name ? `${name}.${key}` : key)
    }
  }
  visit(library, '')
  return names.filter((name) => !(name in recipes) && !NOT_CALLED.some((rule) => rule.test(name)))
}
