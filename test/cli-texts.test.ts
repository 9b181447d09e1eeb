/** How the command line reads texts in pieces: the tokens are those of the whole text. */
import test from 'ava'
import { data } from 'fused-rnn'
import { Collector, countsOf, renumber } from '../dist/cli/reading.js'

const TEXTS = [
  'the quick brown fox\njumps over\r\nthe lazy dog.\rAgain!\n\n  ... “ΑΣ ΑΣΑ” ΣΑΣ\tx\n',
  '漢字かな交じり文。😀😀\r\n\r\n…--- a-b c---d\n',
  'x',
]

/** Cuts a text anywhere, but not within a character, as decoders do not. */
async function* cut(text: string, random: () => number): AsyncGenerator<string, void> {
  const characters = [...text]
  for (let at = 0; at < characters.length; ) {
    const length = Math.floor(random() * 5)
    yield characters.slice(at, at + length).join('')
    at += length
  }
}

test('pieces give the tokens of the whole text', async (t) => {
  let seed = 1
  const random = (): number => {
    seed = (seed * 48271) % 2147483647
    return seed / 2147483647
  }
  const text = TEXTS.join('').repeat(3)
  for (const level of ['char', 'word'] as const)
    for (const lowerCase of [false, true])
      for (const lettersOnly of [false, true])
        for (const keepCr of [false, true]) {
          const tokenizer = new data.Tokenizer({ level, lowerCase, lettersOnly, keepCr })
          const expected = data.Vocabulary.fromText(text, { tokenizer })
          for (let i = 0; i < 10; i++) {
            const collector = new Collector(tokenizer, [])
            await collector.addAll(cut(text, random))
            const tokens = collector.tokens()
            const vocabulary = data.Vocabulary.fromCounts(countsOf(tokens), { tokenizer })
            t.deepEqual(vocabulary.tokens, expected.tokens)
            t.deepEqual(renumber(tokens, vocabulary), { unknown: 0, examples: [] })
            t.deepEqual(tokens.numbers, expected.encode(text))
          }
        }
})

test('more tokens than a block holds, and tokens that a vocabulary lacks', async (t) => {
  const tokenizer = new data.Tokenizer()
  const collector = new Collector(tokenizer, ['a', 'b'])
  const text = 'abc'.repeat(700_000)
  collector.add(text)
  const tokens = collector.tokens()
  t.is(tokens.numbers.length, text.length)
  t.deepEqual([...tokens.numbers.subarray(-3)], [0, 1, 2])
  const vocabulary = new data.Vocabulary(['?', 'b', 'a'], { unknownToken: '?' })
  t.deepEqual(renumber(tokens, vocabulary), { unknown: 700_000, examples: ['c'] })
  t.deepEqual([...tokens.numbers.subarray(-3)], [2, 1, 0])
})
