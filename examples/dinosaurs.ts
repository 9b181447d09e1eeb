/**
 * Names for new dinosaurs, one letter at a time: a network of 50 tanh units reads one name per
 * iteration; after an exercise of Andrew Ng's course "Sequence Models", 2018.
 */
import { cat, data, nn, noGrad, optim, rand, type Tensor, tensor, zeros } from 'fused-rnn'
import { count, options, Progress, read } from './common.js'

const units = 50

class NameModel extends nn.Module {
  readonly rnn: nn.RNN
  readonly output: nn.Linear

  constructor(readonly letters: number) {
    super()
    this.rnn = new nn.RNN(letters, units)
    this.output = new nn.Linear(units, letters)
    for (const [name, parameter] of this.namedParameters())
      name.includes('weight') ? nn.init.normal(parameter, 0, 0.01) : nn.init.zeros(parameter)
  }

  /** Letters [T], of which the first step sees none, and the state [1, H]. */
  override forward(letters: Tensor, state: Tensor | null): [logits: Tensor, state: Tensor] {
    const nothing = zeros([1, this.letters])
    const input = cat([nothing, nn.functional.oneHot(letters, this.letters)], 0)
    const [output, next] = this.rnn.forward(input, state)
    return [this.output.forward(output), next]
  }

  /** Draws letters until the name ends. */
  async sample(end: number): Promise<number[]> {
    const name: number[] = []
    let input = zeros([1, this.letters])
    let state: Tensor | null = null
    while (name.length < 50) {
      const [output, next]: [Tensor, Tensor] = noGrad(() => this.rnn.forward(input, state))
      state = next
      const letter = await nn.functional.sample(noGrad(() => this.output.forward(output))).item()
      if (letter === end) break
      name.push(letter)
      input = nn.functional.oneHot(tensor([letter], { dtype: 'int32' }), this.letters)
    }
    return name
  }
}

/** Names to learn from that need no permission: Greek and Latin roots with the usual endings. */
function inventedNames(): string[] {
  const roots =
    'acro albert allo ankylo apato archaeo brachio bronto cerato coelo compso corytho crypto dilopho diplo dromaeo edmonto elasmo eo euoplo giga hadro hetero iguano lambeo lepto macro mega micro nano ornitho oviraptoro pachy para pelecani platy plateo plesio poly proto psittaco saltas sauro segno spino stego struthio styraco tarbo theri torvo tricera tyranno utah veloci xeno'
  const endings = 'saurus saurus saurus raptor tops mimus don titan nyx venator'
  return roots.split(' ').flatMap((root) => endings.split(' ').map((ending) => `${root}${ending}`))
}

const {
  epochs: iterations,
  every,
  ...given
} = options<{ every: number }>(
  'Names for new dinosaurs. An epoch is one name.',
  { epochs: 35_000, corpus: 'a file with a name per line' },
  (command) => command.option('--every <number>', 'names are drawn after so many', count, 2000),
)
const names = (given.data === undefined ? inventedNames() : (await read(given.data)).split('\n'))
  .map((name) => name.trim().toLowerCase())
  .filter((name) => name !== '')
const vocabulary = data.Vocabulary.fromTokens([...names.join('\n')], {
  unknownToken: null,
  specialTokens: ['\n'],
})
// In an order that depends on the seed only.
const keys = await rand([names.length]).data()
const shuffled = names.map((_, i) => i).sort((a, b) => (keys[a] ?? 0) - (keys[b] ?? 0))
const end = vocabulary.indexOf('\n')
const model = new NameModel(vocabulary.size)
const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, maxGradValue: 5 })

const progress = new Progress(iterations)
let state: Tensor | null = null
let smooth = Math.log(vocabulary.size) * 7
for (let iteration = 0; iteration <= iterations; iteration++) {
  const name = vocabulary.encode(names[shuffled[iteration % names.length] ?? 0] ?? '')
  const target = tensor(Int32Array.of(...name, end), { shape: [name.length + 1] })
  const [logits, next]: [Tensor, Tensor] = model.forward(
    tensor(name, { shape: [name.length] }),
    state,
  )
  state = next.detach()
  const loss = nn.functional.crossEntropy(logits, target, { reduction: 'sum' })
  optimizer.zeroGrad()
  loss.backward()
  await optimizer.step()
  smooth = smooth * 0.999 + (await loss.item()) * 0.001
  if (iteration > 0) progress.step()
  if (iteration % every !== 0 && iteration !== iterations) continue
  progress.print(`iteration ${iteration}, loss ${smooth.toFixed(4)}`)
  for (let i = 0; i < 7; i++) {
    const drawn = vocabulary.decode(await model.sample(end))
    progress.print(`  ${drawn.charAt(0).toUpperCase()}${drawn.slice(1)}`)
  }
}
