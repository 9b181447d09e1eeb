/** Recurrent layers with int8 weights. */
import { GRU, LSTM, RNN, type RNNOptions } from '../nn/recurrent.js'
import type { RecurrentLayer } from '../nn/recurrent_layer.js'
import type { StackCall } from '../nn/recurrent_op.js'
import type { GRUOptions, LSTMOptions, RecurrentOptions } from '../nn/recurrent_options.js'
import { checkCpu } from './int8.js'
import {
  createBuffers,
  int8Call,
  refuseDrawing,
  refuseVariant,
  type StackSizes,
  takeWeights,
} from './weights.js'

function sizesOf(layer: RecurrentLayer, gates: number): StackSizes {
  const { inputSize, hiddenSize, bias, numLayers, bidirectional, projSize } = layer
  return { gates, inputSize, hiddenSize, bias, layer: { numLayers, bidirectional, projSize } }
}

/** With the dropouts, which do nothing in evaluation; `dropout` itself warns where there is one layer. */
function optionsOf(layer: RecurrentLayer): RecurrentOptions {
  const { numLayers, bias, batchFirst, bidirectional } = layer
  const { inputDropout, outputDropout, weightDropout } = layer
  const { recurrentDropout } = layer
  const zoneout = layer.zoneout as number // or a pair, of an LSTM
  const dropouts = { inputDropout, outputDropout, weightDropout, recurrentDropout, zoneout }
  return { numLayers, bias, batchFirst, bidirectional, ...dropouts, device: 'cpu' }
}

/**
 * `nn.LSTM` with int8 weights, for inference on the CPU; as
 * `torch.ao.nn.quantized.dynamic.LSTM`. `quantization.quantizeDynamic` makes it of a trained layer, and
 * says how it computes. One made by its constructor has zeros, for `loadStateDict`. In a state dict
 * stand, under PyTorch's names, the weights (int32, four int8 in each element) and the biases, and their
 * scales under `weight_ih_l0_scale` and so on, `[4·H]` (`weight_hr_l0_scale` `[projSize]`).
 */
export class DynamicQuantizedLSTM extends LSTM {
  /** @throws TypeError, RangeError; for another device than the CPU and more than 65,536 inputs, too */
  constructor(inputSize: number, hiddenSize: number, options: LSTMOptions = {}) {
    super(inputSize, hiddenSize, options)
    refuseVariant(this, 'peephole: true', this.peephole)
    this.eval()
  }

  /** @internal */
  protected override createParameters(_shapes: unknown, device: string): void {
    createBuffers(this, sizesOf(this, 4), device)
  }

  /** @internal */
  protected override stackCall(fn: string, device: string): StackCall {
    return int8Call(fn, this, sizesOf(this, 4), device)
  }

  /** @throws TypeError always: there is nothing to train */
  override resetParameters(): never {
    refuseDrawing(this)
  }

  /** @internal */
  protected override checkMove(device: string): void {
    checkCpu('to', 'device', device)
  }
}

/** `nn.GRU` with int8 weights; see {@link DynamicQuantizedLSTM}. */
export class DynamicQuantizedGRU extends GRU {
  /** @throws TypeError, RangeError; for another device than the CPU and more than 65,536 inputs, too */
  constructor(inputSize: number, hiddenSize: number, options: GRUOptions = {}) {
    super(inputSize, hiddenSize, options)
    refuseVariant(this, 'resetAfter: false', !this.resetAfter)
    this.eval()
  }

  /** @internal */
  protected override createParameters(_shapes: unknown, device: string): void {
    createBuffers(this, sizesOf(this, 3), device)
  }

  /** @internal */
  protected override stackCall(fn: string, device: string): StackCall {
    return int8Call(fn, this, sizesOf(this, 3), device)
  }

  /** @throws TypeError always: there is nothing to train */
  override resetParameters(): never {
    refuseDrawing(this)
  }

  /** @internal */
  protected override checkMove(device: string): void {
    checkCpu('to', 'device', device)
  }
}

/** `nn.RNN` with int8 weights; see {@link DynamicQuantizedLSTM}. */
export class DynamicQuantizedRNN extends RNN {
  /** @throws TypeError, RangeError; for another device than the CPU and more than 65,536 inputs, too */
  constructor(inputSize: number, hiddenSize: number, options: RNNOptions = {}) {
    super(inputSize, hiddenSize, options)
    this.eval()
  }

  /** @internal */
  protected override createParameters(_shapes: unknown, device: string): void {
    createBuffers(this, sizesOf(this, 1), device)
  }

  /** @internal */
  protected override stackCall(fn: string, device: string): StackCall {
    return int8Call(fn, this, sizesOf(this, 1), device)
  }

  /** @throws TypeError always: there is nothing to train */
  override resetParameters(): never {
    refuseDrawing(this)
  }

  /** @internal */
  protected override checkMove(device: string): void {
    checkCpu('to', 'device', device)
  }
}

/** Of a layer on the CPU. */
export function quantizedLSTM(layer: LSTM): DynamicQuantizedLSTM {
  refuseVariant(layer, 'peephole: true', layer.peephole)
  const options = { ...optionsOf(layer), projSize: layer.projSize }
  const result = new DynamicQuantizedLSTM(layer.inputSize, layer.hiddenSize, options)
  result.dropout = layer.dropout
  return takeWeights(result, sizesOf(layer, 4), layer)
}

/** Of a layer on the CPU. */
export function quantizedGRU(layer: GRU): DynamicQuantizedGRU {
  refuseVariant(layer, 'resetAfter: false', !layer.resetAfter)
  const options = optionsOf(layer)
  const result = new DynamicQuantizedGRU(layer.inputSize, layer.hiddenSize, options)
  result.dropout = layer.dropout
  return takeWeights(result, sizesOf(layer, 3), layer)
}

/** Of a layer on the CPU. */
export function quantizedRNN(layer: RNN): DynamicQuantizedRNN {
  const options = { ...optionsOf(layer), nonlinearity: layer.nonlinearity }
  const result = new DynamicQuantizedRNN(layer.inputSize, layer.hiddenSize, options)
  result.dropout = layer.dropout
  return takeWeights(result, sizesOf(layer, 1), layer)
}
