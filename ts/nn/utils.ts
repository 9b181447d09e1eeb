/** As `torch.nn.utils`. */
export { type ClipGradNormOptions, clipGradNorm, clipGradValue } from './clip.js'
export * as rnn from './packed.js'
