/** Models for other runtimes; as `torch.onnx`. */
export { exportModel as export, type OnnxModule, serialize } from './export.js'
export type { Graph, OnnxShape, PlainLayer, Value } from './graph.js'
export type { Attribute, OnnxDType } from './proto.js'
