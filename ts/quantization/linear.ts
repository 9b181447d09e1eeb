/** The linear layer with int8 weights. */
import { copyValues } from '../autograd.js'
import { binding } from '../binding.js'
import { formatShape, rangeError } from '../errors.js'
import { zeros } from '../factories.js'
import { Linear, type LinearOptions } from '../nn/linear.js'
import { checkFloat } from '../ops/common.js'
import { checkShape, numelOf } from '../shape.js'
import { Tensor } from '../tensor.js'
import {
  checkColumns,
  checkCpu,
  checkedTensor,
  checkInference,
  checkNoGradient,
  type MatrixSizes,
  packedShape,
  quantized,
} from './int8.js'

const NAME = 'DynamicQuantizedLinear'

/**
 * `nn.Linear` with int8 weights, for inference on the CPU; as
 * `torch.ao.nn.quantized.dynamic.Linear`. `quantization.quantizeDynamic` makes it of a trained layer. One made
 * by its constructor has zeros, for `loadStateDict`. In a state dict are `weight` (int32, four int8 in
 * each element), `weight_scale` `[O]` and `bias` `[O]`.
 */
export class DynamicQuantizedLinear extends Linear {
  /** Scales of the weight's rows, `[O]`. */
  declare weight_scale: Tensor

  /** @throws TypeError, RangeError; for another device than the CPU and more than 65,536 inputs, too */
  constructor(inFeatures: number, outFeatures: number, options: LinearOptions = {}) {
    super(inFeatures, outFeatures, options)
    this.eval()
  }

  /** @internal */
  protected override createParameters(hasBias: boolean, device: string): void {
    checkCpu(NAME, 'device', device)
    checkColumns(NAME, 'inFeatures', this.inFeatures)
    const { outFeatures } = this
    const shape = checkShape(NAME, packedShape(sizesOf(this)))
    this.registerBuffer('weight', zeros(shape, { dtype: 'int32', device }))
    this.registerBuffer('weight_scale', zeros([outFeatures], { device }))
    if (hasBias) this.registerBuffer('bias', zeros([outFeatures], { device }))
    else this.bias = null
  }

  /** `[…, I]` → `[…, O]`. @throws TypeError in training mode, for inputs that require a gradient or are on a GPU; RangeError */
  override forward(x: Tensor): Tensor {
    const fn = `${NAME}.forward`
    const { inFeatures, outFeatures, bias } = this
    checkFloat(fn, 'x', x)
    checkInference(fn, this, x.device)
    checkNoGradient(fn, [x])
    if (x.shape.length === 0 || x.shape.at(-1) !== inFeatures)
      throw rangeError(fn, 'x', `shape (…, ${inFeatures})`, formatShape(x.shape))
    const weight = checkedTensor(fn, 'weight', this.weight, packedShape(sizesOf(this)), 'int32')
    const scale = checkedTensor(fn, 'weight_scale', this.weight_scale, [outFeatures], 'float32')
    const add = bias && checkedTensor(fn, 'bias', bias, [outFeatures], 'float32')
    const rows = x.shape.slice(0, -1)
    const shape = checkShape(fn, [...rows, outFeatures])
    const m = numelOf(rows)
    const y = binding.int8Linear(
      x.buffer,
      weight.buffer,
      scale.buffer,
      add?.buffer ?? null,
      m,
      inFeatures,
      outFeatures,
    )
    return Tensor.wrap(y, shape, 'cpu')
  }

  /** @throws TypeError always: there is nothing to train */
  override resetParameters(): never {
    throw new TypeError(
      `[${NAME}] resetParameters: int8 weights are not drawn; quantise a new layer`,
    )
  }

  /** @internal */
  protected override checkMove(device: string): void {
    checkCpu('to', 'device', device)
  }
}

function sizesOf({ inFeatures, outFeatures }: Linear): MatrixSizes {
  return { groups: 1, rows: outFeatures, columns: inFeatures }
}

/** Of a layer on the CPU. */
export function quantizedLinear(layer: Linear): DynamicQuantizedLinear {
  const { inFeatures, outFeatures, bias } = layer
  const result = new DynamicQuantizedLinear(inFeatures, outFeatures, {
    bias: bias !== null,
    device: 'cpu',
  })
  const [weight, scale] = quantized(layer.weight, sizesOf(result))
  result.weight = weight
  result.weight_scale = scale
  if (bias !== null) result.bias = copyValues(bias)
  return result
}
