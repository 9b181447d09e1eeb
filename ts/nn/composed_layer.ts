/** nn.recurrent: a recurrent layer from a cell that is composed of tensor operations. */

import {
  checkInteger,
  checkOptions,
  checkString,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { cat } from '../ops/shape.js'
import type { Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { addComposedCell, type CellSizes, type ComposedCell, refuseMore } from './composed_cells.js'
import type { PackedSequence } from './packed.js'
import { RecurrentLayer } from './recurrent_layer.js'
import { COMPOSED_OPTIONS, type RecurrentOptions, type StepMasks } from './recurrent_options.js'

/** A state for each name: one tensor by itself, several as a tuple. */
export type ComposedState<S extends readonly string[]> = S extends readonly [string]
  ? Tensor
  : { readonly [K in keyof S]: Tensor }

/** The weights of one layer and direction, without suffixes, by which step knows them. */
export type ComposedWeights<P extends string> = {
  /** `(G·H, H)` */
  readonly weight_hh: Tensor
  /** `(G·H)`; null with `bias: false` */
  readonly bias_hh: Tensor | null
} & { readonly [name in P]: Tensor }

/** A cell of your own, as {@link recurrent} takes it. N: the sequences that are active, H: hiddenSize. */
export interface CellDefinition<S extends readonly string[], P extends string> {
  /** Of the class, in messages and where it is printed. Default 'Recurrent'. */
  name?: string
  /**
   * G: `weight_ih` is `(G·H, I)`, `weight_hh` `(G·H, H)`, the biases `(G·H)`. 0: the cell has none of
   * these, and step gets its input as it is. Default 1.
   */
  gates?: number
  /** What is carried from step to step, each `(N, H)`, zeros first; the first one is the output. Default ['h']. */
  state?: S
  /**
   * Further parameters of a layer and direction: names without suffix, and shapes. Also `weight_hh` and
   * `bias_hh` in another shape; null: not there.
   */
  parameters?: (sizes: CellSizes) => { readonly [name in P]: Shape | null }
  /**
   * One step, as a cell's forward in PyTorch.
   * @param x W_ih x + b_ih `(N, G·H)`, computed for all steps at once; without gates the input `(N, I)`
   * @param state h, or with several states [h, c, …]
   * @returns the new state, in the same form
   */
  step: (
    x: Tensor,
    state: ComposedState<S>,
    weights: ComposedWeights<P>,
  ) => ComposedState<S> | (S extends readonly [string] ? readonly [Tensor] : never)
}

/** A layer of a class that {@link recurrent} made. */
export interface ComposedLayer<State extends Tensor | readonly Tensor[]>
  extends RecurrentLayer<State> {
  forward(
    input: Tensor,
    state?: State | null,
    masks?: StepMasks<State>,
  ): [output: Tensor, state: State]
  forward(
    input: PackedSequence,
    state?: State | null,
    masks?: StepMasks<State>,
  ): [output: PackedSequence, state: State]
}

/** What {@link recurrent} makes. */
export type ComposedLayerClass<State extends Tensor | readonly Tensor[]> = new (
  inputSize: number,
  hiddenSize: number,
  options?: RecurrentOptions,
) => ComposedLayer<State>

/**
 * A class of layers from a cell that you write as one step, of tensor operations; the way to try an idea.
 * It has all that {@link GRU} has: packed sequences, layers, both directions, `batchFirst`, dropouts,
 * parameters by PyTorch's names, clones, gradients of gradients. It launches every operation of every step,
 * and so is slower than a layer of this library by a factor that docs/cells.md gives.
 *
 * `forward(input, state?)` takes and returns what {@link GRU} does for one state, and for several
 * `[output, [h, c, …]]`, each `(D·numLayers, N, hiddenSize)`; a third argument, {@link StepMasks}, resets
 * the states before some steps or skips some. Parameters are drawn from U(−1/√H, 1/√H);
 * those whose names begin with `gain` are 1.
 *
 * @throws TypeError, RangeError; in forward also for a step that returns other shapes than its state's
 */
export function recurrent<
  const S extends readonly string[] = readonly ['h'],
  P extends string = never,
>(cell: CellDefinition<S, P>): ComposedLayerClass<ComposedState<S>> {
  const definition = checkDefinition(cell as unknown as Definition)
  const { name, states } = definition
  const kind = addComposedCell(definition)
  const Made = {
    [name]: class extends RecurrentLayer<Tensor | readonly Tensor[]> {
      constructor(
        inputSize: number,
        hiddenSize: number,
        options: RecurrentOptions = {},
        ...more: unknown[]
      ) {
        refuseMore(name, ['inputSize', 'hiddenSize', 'options'], more)
        super(name, kind, inputSize, hiddenSize, options, COMPOSED_OPTIONS)
      }

      override forward(
        input: Tensor | PackedSequence,
        state?: Tensor | readonly Tensor[] | null,
        masks?: StepMasks<unknown>,
        ...more: unknown[]
      ): never {
        const fn = `${this.constructor.name}.forward`
        refuseMore(fn, ['input', 'state', 'masks'], more)
        const [h, c] = this.partsOfState(fn, 'hidden', state)
        const [output, hn, cn] = this.run(input, h, c, masks)
        if (cn === null) return [output, hn] as never
        const width = this.hiddenSize
        const rest = states.slice(1)
        const others = rest.length === 1 ? [cn] : cn.split(width, cn.shape.length - 1)
        return [output, [hn, ...others]] as never
      }

      protected override partsOfState(
        fn: string,
        what: string,
        state: unknown,
      ): [h: Tensor | null, c: Tensor | null] {
        return splitState(fn, what, states, (state ?? null) as Tensor | readonly Tensor[] | null)
      }
    },
  }[name]
  return Made as never
}

type Definition = CellDefinition<readonly string[], string>

function checkDefinition(cell: Definition): ComposedCell {
  const fn = 'recurrent'
  checkOptions(fn, cell, ['name', 'gates', 'state', 'parameters', 'step'])
  const name = checkString(fn, 'name', cell.name ?? 'Recurrent')
  if (!/^[A-Za-z_$][\w$]*$/.test(name))
    throw rangeError(fn, 'name', 'the name of a class', `'${name}'`)
  const gates = checkInteger(fn, 'gates', cell.gates ?? 1, 0, 64)
  const states: unknown = cell.state ?? ['h']
  if (!Array.isArray(states) || states.some((one) => typeof one !== 'string'))
    throw typeError(fn, 'state', "an array of names, as ['h', 'c']", states)
  if (states.length === 0) throw rangeError(fn, 'state', 'at least one name', 'none')
  const { parameters, step } = cell
  if (parameters !== undefined && typeof parameters !== 'function')
    throw typeError(fn, 'parameters', 'a function that gives names and shapes', parameters)
  if (typeof step !== 'function') throw typeError(fn, 'step', 'a function', step)
  return { name, gates, states: [...states], parameters: parameters ?? null, step: step as never }
}

/** The first state, and all others side by side. @param what the argument's name */
function splitState(
  fn: string,
  what: string,
  names: readonly string[],
  state: Tensor | readonly Tensor[] | null,
): [h: Tensor | null, c: Tensor | null] {
  if (state === null) return [null, null]
  if (names.length === 1) return [state as Tensor, null]
  if (!Array.isArray(state) || state.length !== names.length)
    throw typeError(fn, what, `an array [${names.join(', ')}]`, state)
  const [h, first, ...more] = state as [Tensor, Tensor, ...Tensor[]]
  if (more.length === 0) return [h, first]
  for (const [k, one] of state.entries()) {
    if (!(one instanceof Tensor)) throw typeError(fn, `${what}[${k}]`, 'a tensor', one)
    if (String(one.shape) !== String(h.shape))
      throw rangeError(fn, `${what}[${k}]`, `shape ${formatShape(h.shape)}`, formatShape(one.shape))
  }
  return [h, cat([first, ...more], h.shape.length - 1)]
}
