/** nn.SRU and nn.SRUCell. */
import { RandomKind } from '../binding.js'
import { fillInto, randomInto } from '../ops/in_place.js'
import { nextRandom } from '../random.js'
import type { Tensor } from '../tensor.js'
import { RecurrentCell } from './cells.js'
import type { PackedSequence } from './packed.js'
import { RecurrentLayer } from './recurrent_layer.js'
import { cellKind } from './recurrent_op.js'
import {
  ELEMENTWISE_CELL_OPTIONS,
  ELEMENTWISE_OPTIONS,
  type ElementwiseCellOptions,
  type ElementwiseOptions,
  type StepMasks,
} from './recurrent_options.js'

/** Draws what is not drawn as of the other layers. */
function drawSru(parameters: readonly (readonly [name: string, parameter: Tensor])[]): void {
  for (const [name, parameter] of parameters) {
    if (name.startsWith('bias')) fillInto('resetParameters', parameter, 0)
    if (!name.startsWith('weight_ih')) continue
    const bound = Math.sqrt(3 / (parameter.shape[1] as number))
    randomInto('resetParameters', parameter, RandomKind.uniform, -bound, bound, nextRandom())
  }
}

/**
 * Simple recurrent unit (Lei et al. 2018, "Simple Recurrent Units for Highly Parallelizable Recurrence"):
 * gates that see the unit's own old state alone, and a highway past them.
 *
 * f, r = σ(W_f x + v_f ∘ c(t−1) + b_f), σ(W_r x + v_r ∘ c(t−1) + b_r)
 *
 * c = f ∘ c(t−1) + (1 − f) ∘ x̃, h = r ∘ c + (1 − r) ∘ x′
 *
 * with x̃ = W x, and x′ the input itself where it is as wide as h, else a product of its own. As in the
 * paper's experiments there is no activation of c; the paper's scaling of x′ is left out.
 *
 * Parameters: `weight_ih_l0` `(3·H, I)` where I = H, else `(4·H, I)`, blocks x̃, f, r, x′; `weight_c_l0`
 * `(2·H)`: v_f, v_r; `bias_l0` `(2·H)`: b_f, b_r; further layers and directions as of {@link RNN}. W
 * begins in U(−√(3/I), √(3/I)) as in the paper, v in U(−1/√H, 1/√H), biases as 0.
 *
 * Options and shapes are those of {@link GRU}; the state is c: `[output, c]`. PyTorch has no such layer.
 *
 * @throws TypeError, RangeError naming the expected and actual sizes
 */
export class SRU extends RecurrentLayer<Tensor> {
  constructor(inputSize: number, hiddenSize: number, options: ElementwiseOptions = {}) {
    super('SRU', cellKind('sru'), inputSize, hiddenSize, options, ELEMENTWISE_OPTIONS)
  }

  override forward(
    input: Tensor,
    c0?: Tensor | null,
    masks?: StepMasks<Tensor>,
  ): [output: Tensor, cn: Tensor]
  override forward(
    input: PackedSequence,
    c0?: Tensor | null,
    masks?: StepMasks<Tensor>,
  ): [output: PackedSequence, cn: Tensor]
  override forward(
    input: Tensor | PackedSequence,
    c0?: Tensor | null,
    masks?: StepMasks<Tensor>,
  ): [Tensor | PackedSequence, Tensor] {
    const [output, cn] = this.run(input, c0 ?? null, null, masks)
    return [output, cn]
  }

  /** Draws every parameter anew, as the constructor does. */
  override resetParameters(): void {
    super.resetParameters()
    drawSru(this.namedParameters())
  }
}

/**
 * One step of {@link SRU}: `forward(input, c?)` takes `(N, inputSize)` or `(inputSize)` and c `(N,
 * hiddenSize)` or `(hiddenSize)` (zeros when left out), and returns the pair [h, c]. Parameters:
 * `weight_ih`, `weight_c` and, for the layer's `bias_l0`, `bias_ih` `(2·H)`.
 */
export class SRUCell extends RecurrentCell {
  /** `[2·H]` */
  declare weight_c: Tensor

  constructor(inputSize: number, hiddenSize: number, options: ElementwiseCellOptions = {}) {
    const known = ELEMENTWISE_CELL_OPTIONS
    super('SRUCell', cellKind('sru'), inputSize, hiddenSize, options, known)
  }

  forward(input: Tensor, c?: Tensor | null): [h: Tensor, c: Tensor] {
    const [h, next] = this.step(input, c ?? null, null)
    return [h, next as Tensor]
  }

  /** Draws every parameter anew, as the constructor does. */
  override resetParameters(): void {
    super.resetParameters()
    drawSru(this.namedParameters())
  }
}
