/** Reading and writing files of tensors. */
export * as safetensors from './safetensors.js'
