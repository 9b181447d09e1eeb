/** As `torch.utils`. */
export * as dlpack from './dlpack.js'
