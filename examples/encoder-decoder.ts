/**
 * An encoder–decoder network translates words letter by letter; after graykode's nlp-tutorial,
 * "Seq2Seq", itself after Cho et al. 2014. With --packed the encoder reads no padding.
 */
import { nn, noGrad, optim, type Tensor, tensor } from 'fused-rnn'
import { options, Progress } from './common.js'

const pairs = [
  ['man', 'women'],
  ['black', 'white'],
  ['king', 'queen'],
  ['girl', 'boy'],
  ['up', 'down'],
  ['high', 'low'],
] as const
/** S begins what the decoder reads, E ends what it writes, P is padding. */
const letters = [...'SEPabcdefghijklmnopqrstuvwxyz']
const steps = 5
const hidden = 128

const numbers = (text: string): number[] => [...text].map((letter) => letters.indexOf(letter))
const padded = (word: string): string => word.padEnd(steps, 'P')
/** Columns of letters as one-hot rows [T, N, letters]. */
const oneHot = (words: readonly string[]): Tensor =>
  nn.functional.oneHot(tensor(words.map(numbers), { dtype: 'int32' }).t(), letters.length)

class Seq2Seq extends nn.Module {
  readonly encoder = new nn.RNN(letters.length, hidden)
  readonly decoder = new nn.RNN(letters.length, hidden)
  readonly output = new nn.Linear(hidden, letters.length)

  /** What to write after each letter of `written`, [T, N, letters]. */
  override forward(words: readonly string[], written: readonly string[]): Tensor {
    const [output] = this.decoder.forward(oneHot(written), this.encode(words))
    return this.output.forward(output)
  }

  /** The state after the last letter: with padding that of the longest word, packed its own. */
  encode(words: readonly string[]): Tensor {
    const input = oneHot(words.map(padded))
    if (!given.packed) return this.encoder.forward(input)[1]
    const lengths = words.map((word) => word.length)
    const options = { enforceSorted: false }
    return this.encoder.forward(nn.utils.rnn.packPaddedSequence(input, lengths, options))[1]
  }

  async translate(word: string): Promise<string> {
    const logits = noGrad(() => this.forward([word], [padded('S').concat('P')]))
    const written = Array.from(await logits.argmax(2).data(), (letter) => letters[letter]).join('')
    return written.replace(/E.*/, '').replaceAll('P', '')
  }
}

const given = options<{ packed: boolean }>(
  'An encoder–decoder network translates words.',
  { epochs: 5000 },
  (command) => command.option('--packed', 'read words packed, without padding', false),
)
const model = new Seq2Seq()
const optimizer = new optim.Adam(model.parameters(), { lr: 1e-3 })
const words = pairs.map(([word]) => word)
const written = pairs.map(([, translation]) => `S${padded(translation)}`)
const target = tensor(
  pairs.map(([, translation]) => numbers(padded(translation).concat('E'))),
  { dtype: 'int32' },
)
const progress = new Progress(given.epochs)
for (let epoch = 1; epoch <= given.epochs; epoch++) {
  const logits = model.forward(words, written)
  const loss = nn.functional.crossEntropy(
    logits.reshape([-1, letters.length]),
    target.t().reshape([-1]),
  )
  optimizer.zeroGrad()
  loss.backward()
  await optimizer.step()
  progress.step()
  if (epoch % 1000 === 0 || epoch === given.epochs)
    progress.print(`epoch ${epoch}, loss ${(await loss.item()).toFixed(6)}`)
}
for (const word of ['man', 'mans', 'king', 'black', 'upp', 'girl', 'up', 'high'])
  console.log(`${word} → ${await model.translate(word)}`)
