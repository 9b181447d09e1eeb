/** Keras's tests of its recurrent layers: files of its own, and calls that no file can hold. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cat, models, nn, stack, type Tensor, where, zeros } from 'fused-rnn'
import {
  asTensor,
  compare,
  type Outcome,
  read,
  refusal,
  runAll,
  type Stored,
  type Suite,
} from './suite.js'

interface Layer {
  kind: 'LSTM' | 'GRU' | 'SimpleRNN'
  config: {
    units: number
    use_bias: boolean
    go_backwards: boolean
    return_sequences: boolean
    zero_output_for_mask: boolean
    reset_after?: boolean
  }
  /** Kernel (inputs, gates·units), recurrent kernel (units, gates·units), bias. */
  weights: Stored[]
}
interface Both {
  kind: 'Bidirectional'
  mergeMode: 'concat'
  layers: [Layer, Layer]
}

interface KerasCase {
  name: string
  layer: Layer | Both
  x: Stored
  mask: Stored | null
  states: Stored[]
  /** How often the layer is called, each time with the state that the last call left. */
  calls: number
  /** Which output is compared, and which row of it; null: all rows. */
  output: number
  row: number | null
  expected: Stored
  /** The layer as a model in a .keras file, as base64; not where the call has a mask or states. */
  file?: string
}

/** Keras has the gates of a GRU as z, r, h; here they are r, z, n. */
function reordered({ kind }: Layer, rows: Tensor): Tensor {
  if (kind !== 'GRU') return rows
  const [z, r, n] = rows.chunk(3, 0) as [Tensor, Tensor, Tensor]
  return cat([r, z, n], 0)
}

type Cell = nn.LSTMCell | nn.GRUCell | nn.RNNCell

/** The cell of a layer, with its weights: as a Keras user would move them. */
function cellOf(layer: Layer): Cell {
  const [kernel, recurrent, bias] = layer.weights.map((one) => asTensor(one)) as [
    Tensor,
    Tensor,
    Tensor,
  ]
  const { units, use_bias: hasBias } = layer.config
  const sizes = [kernel.shape[0] as number, units, { bias: hasBias }] as const
  const cell =
    layer.kind === 'LSTM'
      ? new nn.LSTMCell(...sizes)
      : layer.kind === 'GRU'
        ? new nn.GRUCell(...sizes)
        : new nn.RNNCell(...sizes)
  const weights = new Map([
    ['weight_ih', reordered(layer, kernel.transpose(0, 1))],
    ['weight_hh', reordered(layer, recurrent.transpose(0, 1))],
  ])
  if (hasBias) {
    const two = bias.shape.length === 2
    weights.set('bias_ih', reordered(layer, two ? bias.select(0, 0) : bias))
    weights.set('bias_hh', two ? reordered(layer, bias.select(0, 1)) : zeros([...bias.shape]))
  }
  cell.loadStateDict(weights)
  return cell
}

/** Outputs (N, T, units) and the last states. */
function steps(
  layer: Layer,
  x: Tensor,
  mask: Tensor | null,
  states: readonly Tensor[],
): [output: Tensor, ...states: Tensor[]] {
  const { units, zero_output_for_mask: zeroOutput } = layer.config
  const cell = cellOf(layer)
  const none = zeros([x.shape[0] as number, units])
  let [h = none, c = none] = states
  const outputs: Tensor[] = []
  for (let t = 0; t < (x.shape[1] as number); t++) {
    const input = x.select(1, t)
    const next =
      cell instanceof nn.LSTMCell ? cell.forward(input, [h, c]) : [cell.forward(input, h), c]
    if (mask === null) {
      ;[h, c] = next as [Tensor, Tensor]
      outputs.push(h)
      continue
    }
    const counts = mask.select(1, t).unsqueeze(1).ne(0)
    h = where(counts, next[0] as Tensor, h)
    c = where(counts, next[1] as Tensor, c)
    outputs.push(zeroOutput ? where(counts, h, 0) : h)
  }
  return [stack(outputs, 1), h, ...(layer.kind === 'LSTM' ? [c] : [])]
}

/** What a layer returns, and its states. */
function called(
  layer: Layer,
  x: Tensor,
  mask: Tensor | null,
  states: readonly Tensor[],
): [output: Tensor, ...states: Tensor[]] {
  const backwards = layer.config.go_backwards
  const [given, counts] = backwards ? [x.flip(1), mask?.flip(1) ?? null] : [x, mask]
  const [output, ...after] = steps(layer, given, counts, states)
  return [layer.config.return_sequences ? output : output.select(1, -1), ...after]
}

function both(
  { layers: [ahead, back] }: Both,
  x: Tensor,
  mask: Tensor | null,
  states: readonly Tensor[],
): [output: Tensor, ...states: Tensor[]] {
  const half = states.length / 2
  const [a, ...after] = called(ahead, x, mask, states.slice(0, half))
  const [b, ...behind] = called(back, x, mask, states.slice(half))
  return [cat([a, ahead.config.return_sequences ? b.flip(1) : b], -1), ...after, ...behind]
}

async function run(one: KerasCase, path: string): Promise<Outcome> {
  let outputs: Tensor[]
  const x = asTensor(one.x)
  if (one.file !== undefined) {
    writeFileSync(path, Buffer.from(one.file, 'base64'))
    const model = (await models.fromKeras(path)).eval()
    outputs = [model.forward<Tensor | readonly [Tensor, Tensor]>(x)].flat()
  } else {
    const mask = one.mask && asTensor(one.mask)
    let states = one.states.map((state) => asTensor(state))
    outputs = []
    for (let call = 0; call < one.calls; call++) {
      outputs =
        one.layer.kind === 'Bidirectional'
          ? both(one.layer, x, mask, states)
          : called(one.layer, x, mask, states)
      states = outputs.slice(1)
    }
  }
  const found = outputs[one.output]
  const row = one.row === null ? found : found?.select(0, one.row)
  return compare([[`output ${one.output + 1}`, row, one.expected]], 2e-5)
}

export async function kerasSuite(): Promise<Suite> {
  const { source, cases } = read<KerasCase>('keras')
  const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-conformance-'))
  try {
    const results = await runAll(cases, (one) =>
      run(one, join(folder, 'case.keras')).catch(refusal),
    )
    const files = cases.filter(({ file }) => file !== undefined).length
    return {
      title: `Keras ${source.version}: tests of LSTM, GRU, SimpleRNN and Bidirectional`,
      about: `The expected numbers of its test files. ${files} cases are .keras files of the layer, through \`models.fromKeras\`; the others have masks, states that are given or kept, or return their states, which no file can say: they go through the cells of \`nn\`, with the weights moved as docs/from-tfjs.md has it (test/conformance/keras.ts). Tolerance 2e-5.`,
      results,
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
