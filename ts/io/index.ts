/** Reading and writing files of tensors. */
export * as safetensors from './safetensors.js'
export * as torch from './torch/index.js'
export { load, save } from './values.js'
