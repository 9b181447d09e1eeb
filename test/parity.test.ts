/** Random calls of everything against PyTorch; see fixtures/make_parity.py. */
import test, { type ExecutionContext } from 'ava'
import * as library from 'fused-rnn'
import { nn, Tensor, tensor } from 'fused-rnn'
import { closeTo, fixture, projected } from './helpers.js'

const { packPaddedSequence, padPackedSequence, PackedSequence } = nn.utils.rnn
const file = fixture(process.env.FUSED_RNN_PARITY ?? 'parity')

interface Case {
  call: string
  args: unknown[]
  inputs: number
  outputs: number
  options?: Record<string, unknown>
  module?: [name: string, args: unknown[]]
  pack?: [lengths: number[], options: { batchFirst: boolean; enforceSorted: boolean }]
}

/** What cases call without knowing its arguments. */
type Callable = (...args: unknown[]) => unknown

/** Arguments with {'$': i} replaced by tensor i. */
function filled(value: unknown, tensors: readonly unknown[]): unknown {
  if (Array.isArray(value)) return value.map((item) => filled(item, tensors))
  if (typeof value === 'object' && value !== null && '$' in value) return tensors[value.$ as number]
  return value
}

function flat(value: unknown): Tensor[] {
  if (value instanceof Tensor) return [value]
  if (value instanceof PackedSequence) return [value.data]
  return (value as unknown[]).flatMap(flat)
}

function run(entry: Case, inputs: Tensor[], module: nn.Module | null): unknown {
  const first = inputs[0] as Tensor
  const fed = entry.pack ? [packPaddedSequence(first, ...entry.pack), ...inputs.slice(1)] : inputs
  const args = filled(entry.args, fed) as unknown[]
  if (entry.options) args.push(entry.options)
  if (module) return (module.forward as Callable)(...args)
  if (entry.call === 'roundTrip') {
    const [lengths, options] = args as [number[], { batchFirst: boolean }]
    const { batchFirst } = options
    const packed = packPaddedSequence(first, lengths, { batchFirst, enforceSorted: false })
    return padPackedSequence(packed, options)[0]
  }
  if (!entry.call.endsWith('()')) {
    return (first[entry.call as 'sum'] as Callable).apply(first, args)
  }
  let found: unknown = library
  for (const name of entry.call.slice(0, -2).split('.')) {
    found = (found as Record<string, unknown>)[name]
  }
  return (found as Callable)(...args)
}

const groups = new Map<string, number[]>()
;(file.info.cases as Case[]).forEach((entry, n) => {
  const name = entry.module?.[0] ?? entry.call
  groups.set(name, [...(groups.get(name) ?? []), n])
})

for (const [name, numbers] of groups) {
  test(`${name}: random calls`, async (t) => {
    for (const n of numbers) await replay(t, n)
  })
}

async function replay(t: ExecutionContext, n: number): Promise<void> {
  const entry = file.info.cases[n] as Case
  const label = `case ${n} ${JSON.stringify(entry)}`
  const inputs = Array.from({ length: entry.inputs }, (_, i) => {
    const requiresGrad = file.array(`${n}.x${i}`).dtype === 'float32'
    return file.tensor(`${n}.x${i}`, { requiresGrad })
  })
  let module: nn.Module | null = null
  if (entry.module) {
    const [name, args] = entry.module
    const Class = nn[name as 'Linear'] as unknown as new (...args: unknown[]) => nn.Module
    module = new Class(...args)
    t.deepEqual(module.loadStateDict(file.tensors(`${n}.w`)).missingKeys, [])
  }
  const outputs = flat(run(entry, inputs, module))
  t.is(outputs.length, entry.outputs, label)
  for (const [i, output] of outputs.entries()) {
    const expected = file.array(`${n}.y${i}`)
    t.is(output.dtype, expected.dtype, `${label}: dtype of output ${i}`)
    await closeTo(t, output, expected, 2e-5, `${label}: output ${i}`)
    t.is(output.requiresGrad, file.has(`${n}.v${i}`), `${label}: output ${i} requires a gradient`)
  }
  const chosen = outputs.flatMap((output, i) => (file.has(`${n}.v${i}`) ? [output] : []))
  if (chosen.length === 0) return
  const vectors = outputs.flatMap((_, i) => {
    return file.has(`${n}.v${i}`) ? [file.tensor(`${n}.v${i}`)] : []
  })
  projected(chosen, vectors).backward()
  for (const [i, input] of inputs.entries()) {
    if (!file.has(`${n}.dx${i}`)) t.is(input.grad, null, `${label}: no gradient of input ${i}`)
    else {
      await closeTo(t, input.grad, file.array(`${n}.dx${i}`), 1e-4, `${label}: gradient ${i}`)
    }
  }
  for (const [key, parameter] of module?.namedParameters() ?? []) {
    const expected = file.array(`${n}.dw.${key}`)
    await closeTo(t, parameter.grad, expected, 1e-4, `${label}: gradient of ${key}`)
  }
}

test('relu: a NaN lets the gradient through, a zero does not', async (t) => {
  const x = tensor([Number.NaN, 0, -1, 2], { requiresGrad: true })
  x.relu().sum().backward()
  await closeTo(t, x.grad, [1, 0, 0, 1], 0)
  const rnn = new nn.RNN(1, 1, { nonlinearity: 'relu' })
  const input = tensor([[Number.NaN]], { requiresGrad: true })
  rnn.forward(input)[0].sum().backward()
  await closeTo(t, input.grad, rnn.weight_ih_l0 as Tensor, 0)
})
