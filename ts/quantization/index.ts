/** Layers with int8 weights, for inference on the CPU; as `torch.ao.quantization`. */
export {
  DynamicQuantizedGRUCell,
  DynamicQuantizedLSTMCell,
  DynamicQuantizedRNNCell,
} from './cells.js'
export { DynamicQuantizedLinear } from './linear.js'
export {
  type QuantizableClass,
  type QuantizeDynamicOptions,
  quantizeDynamic,
} from './quantize_dynamic.js'
export {
  DynamicQuantizedGRU,
  DynamicQuantizedLSTM,
  DynamicQuantizedRNN,
} from './recurrent.js'
