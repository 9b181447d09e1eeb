/** What operations and others need of ts/autograd/: the tape, and going back along it. */
export { type BackwardOptions, copyValues, runBackward } from './autograd/backward.js'
export {
  type GradientListener,
  gradientListener,
  listenToGradient,
  stopListening,
} from './autograd/listeners.js'
export {
  type Backward,
  type Edge,
  type GradientUse,
  Node,
  record,
  willRecord,
} from './autograd/node.js'
