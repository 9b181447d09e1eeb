/** Recurrent cells with int8 weights. */
import { GRUCell, LSTMCell, type RecurrentCell, RNNCell, type RNNCellOptions } from '../nn/cells.js'
import type { StackCall } from '../nn/recurrent_op.js'
import type { CellOptions, GRUCellOptions, LSTMCellOptions } from '../nn/recurrent_options.js'
import { checkCpu } from './int8.js'
import {
  createBuffers,
  int8Call,
  refuseDrawing,
  refuseVariant,
  type StackSizes,
  takeWeights,
} from './weights.js'

function sizesOf({ inputSize, hiddenSize, bias }: RecurrentCell, gates: number): StackSizes {
  return { gates, inputSize, hiddenSize, bias }
}

function optionsOf({ bias, recurrentDropout, zoneout }: RecurrentCell): CellOptions {
  return { bias, recurrentDropout, zoneout: zoneout as number, device: 'cpu' } // or an LSTM's pair
}

/**
 * `nn.LSTMCell` with int8 weights, for inference on the CPU; as
 * `torch.ao.nn.quantized.dynamic.LSTMCell`. In a state dict are the weights `weight_ih` and `weight_hh`
 * (int32, four int8 in each element), their scales under `weight_ih_scale` and `weight_hh_scale`, and
 * the biases. See `quantization.quantizeDynamic`.
 */
export class DynamicQuantizedLSTMCell extends LSTMCell {
  /** @throws TypeError, RangeError; for another device than the CPU and more than 65,536 inputs, too */
  constructor(inputSize: number, hiddenSize: number, options: LSTMCellOptions = {}) {
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

/** `nn.GRUCell` with int8 weights; see {@link DynamicQuantizedLSTMCell}. */
export class DynamicQuantizedGRUCell extends GRUCell {
  /** @throws TypeError, RangeError; for another device than the CPU and more than 65,536 inputs, too */
  constructor(inputSize: number, hiddenSize: number, options: GRUCellOptions = {}) {
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

/** `nn.RNNCell` with int8 weights; see {@link DynamicQuantizedLSTMCell}. */
export class DynamicQuantizedRNNCell extends RNNCell {
  /** @throws TypeError, RangeError; for another device than the CPU and more than 65,536 inputs, too */
  constructor(inputSize: number, hiddenSize: number, options: RNNCellOptions = {}) {
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

/** Of a cell on the CPU. */
export function quantizedLSTMCell(cell: LSTMCell): DynamicQuantizedLSTMCell {
  refuseVariant(cell, 'peephole: true', cell.peephole)
  const { inputSize, hiddenSize } = cell
  const options = optionsOf(cell)
  const result = new DynamicQuantizedLSTMCell(inputSize, hiddenSize, options)
  return takeWeights(result, sizesOf(cell, 4), cell)
}

/** Of a cell on the CPU. */
export function quantizedGRUCell(cell: GRUCell): DynamicQuantizedGRUCell {
  refuseVariant(cell, 'resetAfter: false', !cell.resetAfter)
  const { inputSize, hiddenSize } = cell
  const options = optionsOf(cell)
  const result = new DynamicQuantizedGRUCell(inputSize, hiddenSize, options)
  return takeWeights(result, sizesOf(cell, 3), cell)
}

/** Of a cell on the CPU. */
export function quantizedRNNCell(cell: RNNCell): DynamicQuantizedRNNCell {
  const { inputSize, hiddenSize } = cell
  const options = { ...optionsOf(cell), nonlinearity: cell.nonlinearity }
  const result = new DynamicQuantizedRNNCell(inputSize, hiddenSize, options)
  return takeWeights(result, sizesOf(cell, 1), cell)
}
