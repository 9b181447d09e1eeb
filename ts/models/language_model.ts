/** A recurrent language model: it predicts the next token. */
import type { Batch } from '../data/batches.js'
import { TextBatches } from '../data/batches.js'
import { BucketBatches } from '../data/buckets.js'
import { DistributedBatches } from '../data/distributed.js'
import { Vocabulary } from '../data/vocabulary.js'
import { type Device, deviceOption } from '../device.js'
import {
  checkInteger,
  checkOptions,
  checkSignal,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { tensor, zeros } from '../factories.js'
import { checkNoPrivates } from '../nn/clone.js'
import { Dropout } from '../nn/dropout.js'
import { Embedding } from '../nn/embedding.js'
import { crossEntropy, oneHot } from '../nn/functional.js'
import { zeros as fillZeros, uniform } from '../nn/init.js'
import { Linear } from '../nn/linear.js'
import { Module } from '../nn/module.js'
import type { LSTM } from '../nn/recurrent.js'
import type { RecurrentLayer } from '../nn/recurrent_layer.js'
import type { OnnxModule } from '../onnx/export.js'
import type { Graph, Value } from '../onnx/graph.js'
import { DataType } from '../onnx/proto.js'
import { Adam } from '../optim/adam.js'
import { quantizedLike } from '../quantization/quantize_dynamic.js'
import { Tensor } from '../tensor.js'
import type { DataSource, StepContext, StepResult, TrainingModule } from '../train/types.js'
import { checkConfig, checkSizes, type LanguageModelConfig } from './config.js'
import { type GenerateOptions, generate } from './generate.js'
import {
  readModelFolder,
  type SavedModel,
  writeModelFiles,
  writeModelFolder,
} from './model_folder.js'
import { type CellLayer, type CellState, cellLayer, stateNames } from './recurrent_cells.js'

/** What {@link LanguageModel} takes. */
export type LanguageModelOptions = Partial<LanguageModelConfig> & {
  /** Gives vocabSize, and is saved with the model. */
  vocabulary?: Vocabulary
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/** Tensors of shape (layers, B, H): h, for an SRU c; for LSTMs h and c; for an sLSTM h, c, n and m. */
export type LanguageModelState = CellState

/**
 * Embedding, recurrent layers, output layer, with dropout in between; parameters named as in
 * PyTorch's example word_language_model (`encoder.weight`, `rnn.weight_ih_l0`, …, `decoder.bias`)
 * and started like there. `new Trainer().fit(model, batches)` trains it.
 */
export class LanguageModel extends Module implements TrainingModule<Batch>, OnnxModule {
  readonly config: Readonly<LanguageModelConfig>
  readonly vocabulary: Vocabulary | null
  readonly drop: Dropout
  /** Null with one-hot input. */
  readonly encoder: Embedding | null
  readonly rnn: CellLayer
  readonly decoder: Linear

  /** @throws TypeError, RangeError for wrong or unknown options, a vocabulary of another size */
  constructor(options: LanguageModelOptions) {
    super()
    const config = checkConfig(options)
    const { vocabulary } = options
    const { vocabSize, embeddingSize, hiddenSize, numLayers, dropout, cell } = config
    this.config = Object.freeze(config)
    this.vocabulary = vocabulary ?? null
    this.drop = new Dropout(dropout)
    const device = deviceOption('LanguageModel', options.device)
    this.encoder = embeddingSize === 0 ? null : new Embedding(vocabSize, embeddingSize, { device })
    const inputSize = embeddingSize || vocabSize
    const nonlinearity = cell === 'rnn' ? { nonlinearity: config.nonlinearity } : {}
    const layers = { numLayers, dropout, device, ...nonlinearity }
    this.rnn = cellLayer(cell, inputSize, hiddenSize, layers)
    this.decoder = new Linear(hiddenSize, vocabSize, { device })
    if (config.tieWeights && this.encoder !== null) this.decoder.weight = this.encoder.weight
    if (this.encoder !== null) uniform(this.encoder.weight, -0.1, 0.1)
    uniform(this.decoder.weight, -0.1, 0.1)
    fillZeros(this.decoder.bias as Tensor)
  }

  /** Shapes of the model's state for a batch of B: zeros. */
  initialState(batchSize: number): LanguageModelState {
    const shape = [
      this.config.numLayers,
      checkInteger('initialState', 'batchSize', batchSize, 0),
      this.config.hiddenSize,
    ]
    const options = { device: this.decoder.weight.device }
    const parts = stateNames(this.config.cell).map(() => zeros(shape, options))
    return stateOf(parts)
  }

  /** The same state without history, so that backward stops there. */
  detachState(state: LanguageModelState): LanguageModelState {
    this.#checkState('detachState', state)
    return stateOf(tensorsOf(state).map((part) => part.detach()))
  }

  /**
   * @param tokens int32 (T, B)
   * @param state as the call before returned it; none: zeros
   * @returns logits (T·B, V), row t·B + b for token [t, b], and the state after the last step
   * @throws TypeError, RangeError for another dtype, rank or state
   */
  override forward(
    tokens: Tensor,
    state?: LanguageModelState | null,
  ): [logits: Tensor, state: LanguageModelState] {
    const fn = 'LanguageModel.forward'
    if (!(tokens instanceof Tensor) || tokens.dtype !== 'int32')
      throw typeError(fn, 'tokens', 'an int32 tensor', tokens)
    if (tokens.shape.length !== 2)
      throw rangeError(fn, 'tokens', 'shape (T, B)', formatShape(tokens.shape))
    const input =
      this.encoder === null ? oneHot(tokens, this.config.vocabSize) : this.encoder.forward(tokens)
    const dropped = this.encoder === null ? input : this.drop.forward(input)
    const [output, next] = this.#recur(dropped, state ?? undefined)
    const droppedOutput = this.drop.forward(output)
    const rows = droppedOutput.reshape([-1, this.config.hiddenSize])
    const logits = this.decoder.forward(rows)
    // What backward needs of these, the tape holds itself.
    for (const tensor of new Set([input, dropped, output, droppedOutput, rows]))
      tensor[Symbol.dispose]()
    return [logits, next]
  }

  #recur(input: Tensor, state: LanguageModelState | undefined): [Tensor, LanguageModelState] {
    if (state !== undefined) this.#checkState('LanguageModel.forward', state)
    return (this.rnn as RecurrentLayer).forward(input, state) as [Tensor, LanguageModelState]
  }

  /**
   * For `onnx.export`: inputs `tokens` int32 (T, B) and the state as of {@link initialState}: `h0`, for
   * LSTMs also `c0`; outputs `logits` (T·B, V), `hn`, `cn`.
   */
  toOnnx(graph: Graph): void {
    const { vocabSize, hiddenSize, numLayers } = this.config
    const shape = [numLayers, 'batch', hiddenSize]
    const tokens = graph.input('tokens', 'int32', ['sequence', 'batch'])
    const input =
      this.encoder === null ? oneHotOf(graph, tokens, vocabSize) : graph.call(this.encoder, tokens)
    const names = stateNames(this.config.cell)
    const before = names.map((name) => graph.input(`${name}0`, 'float32', shape))
    const given = before.length === 1 ? before[0] : before
    const [output, after] = graph.call(this.rnn as LSTM, input, given as [Value, Value])
    const rows = graph.node('Reshape', [output, graph.ints(-1, hiddenSize)])
    graph.output('logits', graph.call(this.decoder, rows), 'float32', ['rows', vocabSize])
    const parts: Value[] = Array.isArray(after) ? after : [after]
    for (const [i, name] of names.entries())
      graph.output(`${name}n`, parts[i] as Value, 'float32', shape)
  }

  #checkState(fn: string, state: unknown): void {
    const names = stateNames(this.config.cell)
    const several = names.length > 1
    const parts: readonly unknown[] = Array.isArray(state) ? state : [state]
    const fits = Array.isArray(state) === several && parts.length === names.length
    if (fits && parts.every((part) => part instanceof Tensor)) return
    const list = `[${names.join(', ')}]`
    const many = names.length === 2 ? `the pair ${list}` : `the ${names.length} tensors ${list}`
    const expected = several ? many : `the tensor ${names[0]}`
    throw typeError(fn, 'state', `${expected}, for cell '${this.config.cell}'`, state)
  }

  /**
   * Mean cross entropy of the targets of a batch that are not its `ignoreIndex`; the state goes on
   * from the batch before, unless it says reset. The loss weighs as much as the batch's `tokens`.
   */
  trainingStep(batch: Batch, context: StepContext): StepResult {
    const fn = 'LanguageModel.trainingStep'
    if (typeof batch !== 'object' || batch === null) throw typeError(fn, 'batch', 'a batch', batch)
    if (typeof context !== 'object' || context === null)
      throw typeError(fn, 'context', 'a step context', context)
    const { input, target, reset, ignoreIndex = -100 } = batch
    if (!(target instanceof Tensor)) throw typeError(fn, 'batch.target', 'a tensor', target)
    const count = checkInteger(fn, 'batch.tokens', batch.tokens ?? target.numel, 0, target.numel)
    const carried = context.carried as LanguageModelState | null
    if (carried !== null) this.#checkState(fn, carried)
    const before = reset ? null : carried
    const [logits, after] = this.forward(input, before)
    const targets = target.reshape([-1])
    const loss = crossEntropy(logits, targets, { ignoreIndex })
    logits[Symbol.dispose]()
    targets[Symbol.dispose]()
    for (const tensor of tensorsOf(carried)) tensor[Symbol.dispose]()
    context.carried = this.detachState(after)
    for (const tensor of tensorsOf(after)) tensor[Symbol.dispose]()
    return { loss, count }
  }

  validationStep(batch: Batch, context: StepContext): StepResult {
    return this.trainingStep(batch, context)
  }

  /** Adam with PyTorch's defaults. */
  configureOptimizers(): Adam {
    return new Adam(this.parameters())
  }

  /** Perplexity from the mean loss. */
  deriveMetrics(means: Readonly<Record<string, number>>): Record<string, number> {
    const fn = 'LanguageModel.deriveMetrics'
    if (typeof means !== 'object' || means === null) throw typeError(fn, 'means', 'averages', means)
    const { loss } = means
    if (loss !== undefined && typeof loss !== 'number')
      throw typeError(fn, 'means.loss', 'a number', loss)
    return loss === undefined ? {} : { perplexity: Math.exp(loss) }
  }

  /** @throws RangeError when the data have tokens that the model does not know */
  checkData(data: DataSource<Batch>): void {
    const known =
      data instanceof TextBatches ||
      data instanceof BucketBatches ||
      data instanceof DistributedBatches
    if (known && data.largestToken >= this.config.vocabSize) {
      throw rangeError(
        'LanguageModel',
        'data',
        `tokens below the model's vocabSize ${this.config.vocabSize}`,
        String(data.largestToken),
      )
    }
  }

  /**
   * Tokens that go on after `prefix`, one at a time, as long as the caller wants or `length` says.
   * Works in evaluation mode without recording, and may be used while the model is being trained.
   * @param prefix a text (with the model's vocabulary) or token numbers; at least one token
   * @throws TypeError, RangeError at the call
   */
  generate(
    prefix: string | ArrayLike<number>,
    options: GenerateOptions = {},
  ): AsyncGenerator<number, void> {
    return generate(this, prefix, options)
  }

  /**
   * Writes model.safetensors, config.json and, when the model has one, vocabulary.json; makes the
   * folder if needed. Other files there stay, and those of the same names that are no model's of ours
   * are refused. A load, now or after a crash in the middle of this, finds the model
   * that was there before or this one, never parts of both.
   */
  async save(folder: string | URL): Promise<void> {
    await writeModelFolder(folder, savedOf(this))
  }

  /** Writes the same into an existing folder; for checkpoints. */
  async writeFiles(folder: string): Promise<void> {
    await writeModelFiles(folder, savedOf(this))
  }

  /**
   * A model from a folder that {@link save} wrote (or a checkpoint), in evaluation mode. Files of two
   * models are refused, and while others save there, it is one of theirs.
   * @param options `device`: where its parameters are. Default: the default device. `signal`: ends
   *   loading; the promise rejects with the signal's reason
   * @throws (rejects) Error with a one-line message when a file is missing, damaged or does not fit
   */
  static async load(
    folder: string | URL,
    options: { device?: string | Device; signal?: AbortSignal } = {},
  ): Promise<LanguageModel> {
    const fn = 'LanguageModel.load'
    checkOptions(fn, options, ['device', 'signal'])
    const device = deviceOption(fn, options.device)
    const signal = checkSignal(fn, options.signal)
    const { config, vocabulary, weights, mixed } = await readModelFolder(folder, {
      kind: 'LanguageModel',
      vocabularyOf: (json) => Vocabulary.fromJSON(json),
      signal,
    })
    try {
      const options = loadable(config)
      checkSizes(checkConfig({ ...options, ...(vocabulary && { vocabulary }) }), weights)
      if (mixed !== null) throw new Error(mixed)
      const empty = new LanguageModel({
        ...options,
        ...(vocabulary && { vocabulary }),
        device,
      })
      const model = quantizedLike(empty, weights)
      model.loadStateDict(weights)
      return model.eval()
    } catch (error) {
      throw new Error(
        `[LanguageModel.load] '${folder}' does not hold a model: ${(error as Error).message}`,
        { cause: error },
      )
    } finally {
      for (const tensor of weights.values()) tensor[Symbol.dispose]()
    }
  }

  /** See Module.clone. */
  protected override newInstance(): this {
    checkNoPrivates(this.constructor, LanguageModel)
    const { config, vocabulary, decoder } = this
    const options = {
      ...loadable({ ...config }),
      ...(vocabulary && { vocabulary }),
      device: decoder.weight.device,
    }
    return Reflect.construct(LanguageModel, [options], this.constructor as never) as this
  }

  override extraRepr(): string {
    return this.config.tieWeights ? 'tieWeights=true' : ''
  }
}

function savedOf(model: LanguageModel): SavedModel {
  const { config, vocabulary } = model
  return { kind: 'LanguageModel', config, vocabulary, stateDict: () => model.stateDict() }
}

/** nn.functional.oneHot in ONNX: whether a token is this one. */
function oneHotOf(graph: Graph, tokens: Value, vocabSize: number): Value {
  const each = tensor(Int32Array.from({ length: vocabSize }, (_, i) => i))
  const column = graph.node('Unsqueeze', [tokens, graph.ints(-1)])
  const same = graph.node('Equal', [column, graph.weight(each, 'vocabulary')])
  return graph.node('Cast', [same], { to: DataType.float32 })
}

/** Options for the constructor from a saved configuration. */
function loadable(config: Record<string, unknown>): LanguageModelOptions {
  const { nonlinearity, ...rest } = config
  return (config.cell === 'rnn' ? config : rest) as LanguageModelOptions
}

/** A state of its tensors. */
function stateOf(parts: readonly Tensor[]): LanguageModelState {
  return (parts.length === 1 ? parts[0] : parts) as LanguageModelState
}

function tensorsOf(state: LanguageModelState | null): readonly Tensor[] {
  if (state === null) return []
  return Array.isArray(state) ? state : [state]
}
