/** Reading and writing files of tensors. */
export * as safetensors from './safetensors.js'
export { load, save } from './values.js'
