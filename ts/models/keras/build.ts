/** Makes the modules of a chain of layers, with their weights. */
import { describe } from '../../errors.js'
import { activationOf } from './activations.js'
import {
  ActivationStep,
  Conv1DStep,
  DenseStep,
  DropoutStep,
  EmbeddingStep,
  FlattenStep,
  GlobalPoolingStep,
  LayerNormalizationStep,
  MaskingStep,
} from './layers.js'
import { only } from './options.js'
import { type RecurrentKind, RecurrentStep } from './recurrent.js'
import { PlainStep, type Step } from './step.js'
import { type KerasLayer, layerOf, type Topology } from './topology.js'
import type { Weight } from './weights.js'
import { Weights } from './weights.js'
import { BidirectionalStep, MERGE_MODES, type MergeMode, TimeDistributedStep } from './wrappers.js'

type Maker = (layer: KerasLayer, weights: Weights, old: boolean) => Step

const recurrent: Maker = ({ className, config }, weights, old) =>
  new RecurrentStep(className as RecurrentKind, config, weights, old)

const MAKERS: Record<string, Maker> = {
  Embedding: ({ config }, weights) => new EmbeddingStep(config, weights),
  LSTM: recurrent,
  GRU: recurrent,
  SimpleRNN: recurrent,
  Bidirectional: bidirectional,
  TimeDistributed: timeDistributed,
  Dense: ({ config }, weights, old) => new DenseStep(config, weights, old),
  Activation: ({ config }, _, old) => new ActivationStep(activationOf(config.activation, old)),
  ReLU: ({ config }) => {
    only(config, { max_value: [], negative_slope: [0], threshold: [0] })
    return new ActivationStep(activationOf('relu', false))
  },
  Softmax: ({ config }) => {
    only(config, { axis: [-1] })
    return new ActivationStep(activationOf('softmax', false))
  },
  Dropout: ({ config }) => new DropoutStep(config),
  Masking: ({ config }) => new MaskingStep(config),
  LayerNormalization: ({ config }, weights) => new LayerNormalizationStep(config, weights),
  Flatten: ({ config }) => new FlattenStep(config),
  GlobalAveragePooling1D: ({ config }) => new GlobalPoolingStep(config, 'mean'),
  GlobalMaxPooling1D: ({ config }) => new GlobalPoolingStep(config, 'max'),
  Conv1D: ({ config }, weights, old) => new Conv1DStep(config, weights, old),
}

function make(layer: KerasLayer, weights: Weights, old: boolean): Step {
  const maker = Object.hasOwn(MAKERS, layer.className) ? MAKERS[layer.className] : undefined
  if (maker === undefined)
    throw new Error(
      `layers of the class ${describe(layer.className)} are not known; known are InputLayer, ${Object.keys(MAKERS).join(', ')}`,
    )
  return maker(layer, weights, old)
}

function bidirectional({ config }: KerasLayer, weights: Weights, old: boolean): Step {
  const { merge_mode: mode = 'concat' } = config
  if (!MERGE_MODES.includes(mode as MergeMode))
    throw new Error(`its merge_mode is ${describe(mode)}`)
  const layer = layerOf(config.layer, 'the layer inside')
  // Files of Keras 2 and TensorFlow.js say nothing of the other layer, which is alike.
  const other = config.backward_layer == null ? layer : layerOf(config.backward_layer, 'the other')
  const inner = ({ className, config }: KerasLayer, backwards: boolean): RecurrentStep => {
    if (!['LSTM', 'GRU', 'SimpleRNN'].includes(className))
      throw new Error(`it goes both ways over a layer of the class ${describe(className)}`)
    const sequences = config.return_sequences === true
    // Keras has zeros where steps do not count, in both directions.
    const own = { ...config, go_backwards: backwards, zero_output_for_mask: sequences }
    return new RecurrentStep(className as RecurrentKind, own, weights, old)
  }
  const backwards = layer.config.go_backwards === true
  const ahead = inner(layer, backwards)
  return new BidirectionalStep(ahead, inner(other, !backwards), mode as MergeMode)
}

function timeDistributed({ config }: KerasLayer, weights: Weights, old: boolean): Step {
  const inner = make(layerOf(config.layer, 'the layer inside'), weights, old)
  if (!(inner instanceof PlainStep)) throw new Error('the layer inside has two outputs')
  return new TimeDistributedStep(inner)
}

/**
 * @param weightsOf the arrays of a layer, in the order of Keras
 * @throws Error that names the layer, and what of it is not known
 */
export function build(
  { layers, old }: Topology,
  weightsOf: (layer: KerasLayer) => readonly Weight[],
): [name: string, step: Step][] {
  return layers.map((layer, i) => {
    try {
      const weights = new Weights(weightsOf(layer))
      const step = make(layer, weights, old)
      weights.end()
      if (layer.config.trainable === false) step.requiresGrad(false)
      if (
        !(step instanceof PlainStep) &&
        i < layers.length - 1 &&
        step instanceof BidirectionalStep &&
        step.mode === null
      )
        throw new Error('its merge_mode is null, and a layer after it takes two inputs')
      return [layer.name, step]
    } catch (error) {
      const place = `layer ${i + 1} of ${layers.length}, '${layer.name}' (${layer.className})`
      throw new Error(`${place}: ${(error as Error).message}`, { cause: error })
    }
  })
}
