/** Layers around layers: both directions, and each step on its own. */
import { cat } from '../../ops/shape.js'
import type { Tensor } from '../../tensor.js'
import type { RecurrentStep } from './recurrent.js'
import { type Mask, type Output, PlainStep, Step } from './step.js'

export const MERGE_MODES = ['concat', 'sum', 'mul', 'ave', null] as const
export type MergeMode = (typeof MERGE_MODES)[number]

export class BidirectionalStep extends Step {
  readonly ahead: RecurrentStep
  readonly back: RecurrentStep
  readonly mode: MergeMode

  /** @param mode null: both outputs, not merged */
  constructor(ahead: RecurrentStep, back: RecurrentStep, mode: MergeMode) {
    super()
    this.ahead = ahead
    this.back = back
    this.mode = mode
  }

  override forward(x: Tensor, mask: Mask = null): Output {
    const a = this.ahead.forward(x, mask)
    const reversed = this.back.forward(x, mask)
    const b = this.back.sequences ? reversed.flip(1) : reversed
    if (this.mode === null) return [a, b]
    if (this.mode === 'concat') return cat([a, b], -1)
    if (this.mode === 'mul') return a.mul(b)
    return this.mode === 'sum' ? a.add(b) : a.add(b).div(2)
  }

  override maskAfter(_x: Tensor, mask: Mask): Mask {
    return this.ahead.sequences ? mask : null
  }
}

/** The steps of all sequences are taken for so many examples. */
export class TimeDistributedStep extends PlainStep {
  readonly inner: PlainStep

  constructor(inner: PlainStep) {
    super()
    this.inner = inner
  }

  override forward(x: Tensor): Tensor {
    const [n, length, ...rest] = x.shape as unknown as [number, number, ...number[]]
    const y = this.inner.forward(x.reshape([n * length, ...rest]))
    return y.reshape([n, length, ...y.shape.slice(1)])
  }
}
