/** Models for other runtimes; as `torch.onnx`. */
export { exportModel as export, type OnnxModule, serialize } from './export.js'
export type { Graph, OnnxShape, PlainLayer, Value } from './graph.js'
export { load, type OnnxLoadOptions } from './load.js'
export type { LoadedModel, OnnxInput } from './loaded.js'
export type { Attribute, OnnxDType } from './proto.js'
