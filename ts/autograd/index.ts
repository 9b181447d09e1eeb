/** As `torch.autograd`. */
export { Function, FunctionContext } from './function.js'
export { type GradOptions, grad } from './grad.js'
export type { GradientHook, RemovableHandle } from './hooks.js'
export * as profiler from './profiler.js'
