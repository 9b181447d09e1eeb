/** What the models of tasks share: a configuration, what they have learnt beside weights, their folder. */
import { type Device, deviceOption } from '../device.js'
import { checkOptions, checkSignal, formatShape, rangeError } from '../errors.js'
import { Module } from '../nn/module.js'
import type { RecurrentLayer } from '../nn/recurrent_layer.js'
import { Adam } from '../optim/adam.js'
import { storedShape } from '../quantization/int8.js'
import { quantizedLike } from '../quantization/quantize_dynamic.js'
import { sameShape } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { deviceOf } from '../train/batch.js'
import type { StepContext, StepResult, TrainingModule } from '../train/types.js'
import type { CellName } from './cell_names.js'
import {
  readModelFolder,
  type SavedModel,
  writeModelFiles,
  writeModelFolder,
} from './model_folder.js'
import { type CellLayer, cellLayer, checkedWeights } from './recurrent_cells.js'

/** Where to load a model. */
export interface LoadModelOptions {
  /** Where its parameters are. Default: the default device. */
  device?: string | Device
  /** Ends loading; the promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/**
 * A model of a task: a network with what belongs around it (vocabulary, scales, thresholds), which is
 * saved with it. Layers whose sizes depend on the data are made by the first `fit`.
 */
export abstract class TaskModel<B> extends Module implements TrainingModule<B> {
  /** The mean loss of a batch. */
  abstract trainingStep(batch: B, context?: StepContext): StepResult | Promise<StepResult>

  /** The same in evaluation mode. */
  validationStep(batch: B, context?: StepContext): StepResult | Promise<StepResult> {
    return this.trainingStep(batch, context)
  }

  /** Adam with PyTorch's defaults. */
  configureOptimizers(): Adam {
    return new Adam(this.parameters())
  }

  /** What is written: the configuration, what was learnt, tokens. */
  protected abstract saved(): Omit<SavedModel, 'kind' | 'stateDict'>

  /** What is written of this model. */
  protected savedModel(): SavedModel {
    return { kind: this.kind(), ...this.saved(), stateDict: () => this.stateDict() }
  }

  /** The name of its class, also in a subclass of the user's. */
  protected abstract kind(): string

  /**
   * Writes model.safetensors, config.json and, where there are tokens, vocabulary.json; makes the
   * folder if needed. A load, now or after a crash in the middle of this, finds the model that was
   * there before or this one. It predicts the same bits.
   * @throws (rejects) TypeError for a model that has learnt nothing; Error when it cannot be written
   */
  async save(folder: string | URL): Promise<void> {
    checkBuilt(`${this.kind()}.save`, this)
    await writeModelFolder(folder, this.savedModel())
  }

  /** Writes the same into an existing folder; for checkpoints. */
  async writeFiles(folder: string): Promise<void> {
    await writeModelFiles(folder, this.savedModel())
  }
}

/** @throws TypeError unless the model has weights */
export function checkBuilt(fn: string, model: Module): void {
  if (deviceOf(model) === null) throw notFitted(fn)
}

/** What a call of a model that has no layers yet ends with. */
export function notFitted(fn: string): TypeError {
  return new TypeError(
    `[${fn}] model: expected one that has learnt (call fit first), got a new one`,
  )
}

/**
 * A model out of its folder, in evaluation mode.
 * @param make the model of a saved configuration, without its weights
 * @throws (rejects) Error with a one-line message
 */
export async function loadTask<M extends Module>(
  kind: string,
  folder: string | URL,
  options: LoadModelOptions,
  make: (
    config: Record<string, unknown>,
    vocabulary: unknown,
    weights: ReadonlyMap<string, Tensor>,
    device: string,
  ) => M,
): Promise<M> {
  const fn = `${kind}.load`
  checkOptions(fn, options, ['device', 'signal'])
  const device = deviceOption(fn, options.device)
  const signal = checkSignal(fn, options.signal)
  const reading = { kind, vocabularyOf: (json: unknown) => json, signal }
  const { config, vocabulary, weights, mixed } = await readModelFolder(folder, reading)
  try {
    if (mixed !== null) throw new Error(mixed)
    const model = quantizedLike(make(config, vocabulary, weights, device), weights)
    model.loadStateDict(weights)
    return model.eval()
  } catch (error) {
    throw new Error(`[${fn}] '${folder}' does not hold a model: ${(error as Error).message}`, {
      cause: error,
    })
  } finally {
    for (const tensor of weights.values()) tensor[Symbol.dispose]()
  }
}

/**
 * Whether weights have the shape that a configuration says. Before a model is made: a damaged
 * configuration must not ask for more memory than the file has tensors.
 * @param groups of rows: a recurrent layer's gates
 * @throws RangeError
 */
export function checkWeightShape(
  weights: ReadonlyMap<string, Tensor>,
  name: string,
  shape: readonly number[],
  groups = 1,
): void {
  const found = weights.get(name)
  if (found === undefined) throw rangeError('loadStateDict', `'${name}'`, 'a tensor', 'none')
  const expected = storedShape(weights, name, shape, groups)
  if (sameShape(found.shape, expected)) return
  throw rangeError(
    'loadStateDict',
    `'${name}'`,
    `shape ${formatShape(expected)}`,
    formatShape(found.shape),
  )
}

/** What a stack of recurrent layers needs. */
export interface StackOptions {
  cell: CellName
  hiddenSize: number
  numLayers: number
  dropout: number
  bidirectional?: boolean
  device: string
}

/** Recurrent layers over (B, T, F). */
export function recurrentStack(inputSize: number, options: StackOptions): CellLayer {
  const { cell, hiddenSize, numLayers, dropout, bidirectional = false, device } = options
  const layer = { numLayers, dropout, batchFirst: true, bidirectional, device }
  return cellLayer(cell, inputSize, hiddenSize, layer)
}

/** {@link checkWeightShape} of the first layer's input weight and of a weight of the last layer. */
export function checkStack(
  weights: ReadonlyMap<string, Tensor>,
  name: string,
  inputSize: number,
  { cell, hiddenSize, numLayers }: Pick<StackOptions, 'cell' | 'hiddenSize' | 'numLayers'>,
): void {
  const [input, own] = checkedWeights(cell, inputSize, hiddenSize)
  const gates = (input[1][0] as number) / hiddenSize
  checkWeightShape(weights, `${name}.${input[0]}_l0`, input[1], gates)
  checkWeightShape(weights, `${name}.${own[0]}_l${numLayers - 1}`, own[1], gates)
}

/** Calls a layer, and gives its output and the last state of the hidden units. */
export function runStack<X>(rnn: RecurrentLayer, input: X): [output: X, hidden: Tensor] {
  const [output, state] = rnn.forward(input as never)
  return [output as X, Array.isArray(state) ? (state[0] as Tensor) : (state as Tensor)]
}
