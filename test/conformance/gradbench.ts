/** GradBench's LSTM, whose weights are diagonal: written with operations of tensors. */
import { cat, type Tensor, tensor } from 'fused-rnn'
import {
  asTensor,
  different,
  type Outcome,
  PASSED,
  read,
  runAll,
  type Stored,
  type Suite,
} from './suite.js'

interface GradBenchCase {
  name: string
  text: string
  bits: number
  /** h and c of each layer (2·layers, bits). */
  state: Stored
  /** Weights and biases of each layer (2·layers, 4·bits): of the gates f, i, o and of the change. */
  mainParams: Stored
  /** Weights of the input and of the output, and the output's biases (3, bits). */
  extraParams: Stored
  objective: number
  gradient: number[]
}

/** The characters' bits (characters, bits), the highest first. */
function bitsOf(text: string, bits: number): Tensor {
  const rows = [...text].map((character) =>
    [...(character.codePointAt(0) as number).toString(2).padStart(bits, '0')].map(Number),
  )
  return tensor(rows)
}

/** The mean over all bits of −(next bit)·(log of its share). */
function objective(main: Tensor, extra: Tensor, state: Tensor, sequence: Tensor): Tensor {
  const [layers, bits] = [(main.shape[0] as number) / 2, extra.shape[1] as number]
  const h = Array.from({ length: layers }, (_, l) => state.select(0, 2 * l))
  const c = Array.from({ length: layers }, (_, l) => state.select(0, 2 * l + 1))
  const [weights, biases] = [0, 1].map((which) =>
    Array.from({ length: layers }, (_, l) => main.select(0, 2 * l + which)),
  ) as [Tensor[], Tensor[]]
  const [inWeight, outWeight, outBias] = extra.unbind(0) as [Tensor, Tensor, Tensor]
  const characters = sequence.unbind(0)
  const terms = characters.slice(0, -1).map((character, t) => {
    let x = character.mul(inWeight)
    for (let l = 0; l < layers; l++) {
      const [h0, c0] = [h[l] as Tensor, c[l] as Tensor]
      const gates = cat([x, h0, x, h0], 0)
        .mul(weights[l] as Tensor)
        .add(biases[l] as Tensor)
      const [forget, input, output] = gates
        .slice(0, 0, 3 * bits)
        .sigmoid()
        .chunk(3, 0) as [Tensor, Tensor, Tensor]
      const change = gates.slice(0, 3 * bits, 4 * bits).tanh()
      const newC = c0.mul(forget).add(input.mul(change))
      c[l] = newC
      x = output.mul(newC.tanh())
      h[l] = x
    }
    const y = x.mul(outWeight).add(outBias)
    // As there: 2 is added to the sum of the exponentials.
    const share = y.sub(y.exp().sum().add(2).log())
    return (characters[t + 1] as Tensor).mul(share).sum()
  })
  const total = terms.reduce((a, b) => a.add(b))
  return total.mul(-1 / (terms.length * bits))
}

async function run(one: GradBenchCase): Promise<Outcome> {
  const [main, extra] = [asTensor(one.mainParams, true), asTensor(one.extraParams, true)]
  const loss = objective(main, extra, asTensor(one.state), bitsOf(one.text, one.bits))
  loss.backward()
  const value = await loss.item()
  if (!(Math.abs(value - one.objective) <= 1e-4 * Math.abs(one.objective)))
    return different('the objective')
  const parts = await Promise.all([main, extra].map((x) => x.grad?.data()))
  const gradient = parts.flatMap((part) => [...((part ?? []) as Float32Array)])
  if (gradient.length !== one.gradient.length) return different('the length of the gradient')
  const largest = Math.max(...one.gradient.map(Math.abs))
  const off = gradient.map((found, i) => Math.abs(found - (one.gradient[i] as number)))
  return off.every((distance) => distance <= 1e-4 * largest) ? PASSED : different('the gradient')
}

export async function gradBenchSuite(): Promise<Suite> {
  const { source, cases } = read<GradBenchCase>('gradbench')
  return {
    title: `GradBench ${source.version}: objective and gradient of its LSTM`,
    about:
      'Inputs made as its eval makes them (l layers, c characters), objective and gradient beside those of its C++ program with derivatives by hand, which works in double precision. All its weights are diagonal, and two of its gates see the input alone, so it is no `nn.LSTM` but a program of some tensor operations (test/conformance/gradbench.ts). Tolerance 1e-4 of the objective, and of the largest derivative.',
    results: await runAll(cases, run),
  }
}
