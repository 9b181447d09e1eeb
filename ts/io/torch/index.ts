/** Files of PyTorch: what `torch.save` writes and `torch.load` reads. */
export { load, type TorchLoadOptions } from './load.js'
export { save } from './save.js'
export { type StateDictOptions, stateDict } from './state_dict.js'
