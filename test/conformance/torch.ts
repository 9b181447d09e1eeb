/** PyTorch's module tests of RNN, GRU, LSTM and their cells: numbers, gradients, errors. */
import { nn, type Tensor } from 'fused-rnn'
import {
  asTensor,
  compare,
  different,
  type Outcome,
  PASSED,
  read,
  runAll,
  type Stored,
  type Suite,
} from './suite.js'

type Nested = Stored | Nested[]
type Name = 'RNN' | 'GRU' | 'LSTM' | 'RNNCell' | 'GRUCell' | 'LSTMCell'

interface TorchCase {
  name: string
  module: Name
  options: Record<string, unknown>
  inputs?: Nested[]
  weights?: Record<string, Stored>
  outputs?: Nested[]
  gradients?: Record<string, Stored>
  /** What PyTorch says. */
  error?: string
  at?: 'construction' | 'forward'
}

const camelCase = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** All arrays, in order. */
const flat = (value: Nested): Stored[] => (Array.isArray(value) ? value.flatMap(flat) : [value])
const tensorsOf = (value: unknown): Tensor[] =>
  Array.isArray(value) ? value.flatMap(tensorsOf) : [value as Tensor]
const asTensors = (value: Nested, requiresGrad: boolean): unknown =>
  Array.isArray(value)
    ? value.map((item) => asTensors(item, requiresGrad))
    : asTensor(value, requiresGrad)

/** Any of the layers. */
type Layer = nn.Module & { forward(...inputs: unknown[]): unknown }

function construct({ module, options }: TorchCase): Layer {
  const { input_size: inputs, hidden_size: hidden, ...rest } = options
  const named = Object.entries(rest).map(([name, value]) => [camelCase(name), value])
  const Class = nn[module] as unknown as new (
    inputs: never,
    hidden: never,
    options: object,
  ) => Layer
  return new Class(inputs as never, hidden as never, Object.fromEntries(named))
}

async function run(one: TorchCase): Promise<Outcome> {
  if (one.error !== undefined) return runError(one, one.error)
  const layer = construct(one)
  layer.eval()
  const weights = Object.entries(one.weights ?? {})
  layer.loadStateDict(new Map(weights.map(([name, value]) => [name, asTensor(value)])))
  const given = (one.inputs ?? []).map((value) => asTensors(value, true))
  const found = tensorsOf(layer.forward(...given))
  found
    .map((y) => y.square().sum())
    .reduce((a, b) => a.add(b))
    .backward()
  const outputs = flat(one.outputs ?? [])
  if (found.length !== outputs.length) return different(`${found.length} outputs`)
  const values = await compare(
    outputs.map((expected, i) => [`output ${i + 1}`, found[i], expected]),
    2e-5,
  )
  if (values !== PASSED) return values
  const leaves = new Map<string, Tensor>([
    ...layer.namedParameters(),
    ...tensorsOf(given).map((x, i) => [`input ${i}`, x] as const),
  ])
  return compare(
    Object.entries(one.gradients ?? {}).map(([name, expected]) => [
      `the gradient of ${name}`,
      leaves.get(name)?.grad,
      expected,
    ]),
    1e-4,
  )
}

/** Whether the library throws, and where PyTorch does. */
async function runError(one: TorchCase, expected: string): Promise<Outcome> {
  if (flat(one.inputs ?? []).some(({ dtype }) => dtype === 'float64'))
    return { is: 'not run', why: 'there are no tensors of float64, so there is nothing to mix up' }
  const { input_size: inputs, hidden_size: hidden } = one.options
  if ([inputs, hidden].some((size) => size === 3 || size === 5) && /float$/.test(expected))
    return { is: 'not run', why: 'JavaScript has one type of numbers: 3.0 is 3' }
  let at = 'construction'
  try {
    const layer = construct(one)
    at = 'forward'
    layer.forward(...(one.inputs ?? []).map((value) => asTensors(value, false)))
  } catch (error) {
    const { message } = error as Error
    if (!(error instanceof TypeError || error instanceof RangeError) || !message.startsWith('['))
      throw error
    // Ours may be earlier.
    return at === one.at || at === 'construction' ? PASSED : different(`an error at ${at} only`)
  }
  return different(`no error where PyTorch says: ${expected}`)
}

export async function torchSuite(): Promise<Suite> {
  const { source, cases } = read<TorchCase>('torch')
  return {
    title: `PyTorch ${source.version}: module tests of RNN, GRU, LSTM and their cells`,
    about:
      'The samples of `torch.testing._internal.common_modules` (the grid of their options, and calls that have to fail), with PyTorch’s outputs, and gradients of the sum of the squared outputs by all parameters and inputs. Tolerances 2e-5 and 1e-4. An error has to come at the same place as PyTorch’s, or earlier.',
    results: await runAll(cases, run),
  }
}
