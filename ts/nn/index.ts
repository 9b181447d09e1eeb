/** Layers, losses and what they are made of; as `torch.nn`. */
export {
  type IncompatibleKeys,
  type LoadStateDictOptions,
  Module,
  ModuleList,
  Parameter,
  Sequential,
} from './module.js'
