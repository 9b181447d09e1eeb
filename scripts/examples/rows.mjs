// The rows of the table in examples/README.md: what is run, and where its figures stand in what the
// program writes. `pattern`'s last match counts; with `all`, every match. `quick`: options of a run of
// seconds, where {folder} is the folder of the excerpts. `keeps`: the program has --out and --resume.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const lyricsAt = (epoch) => `^epoch ${epoch}, perplexity ([\\d.]+), time`
/** What the original computes: its clipping has no effect (examples/README.md). */
const unclipped = ['--clip', '0']
/** @param original by epoch */
const lyrics = (name, title, options, epochs, original, originalTime = '') => ({
  name,
  title,
  command: ['lyrics', ...options, '--epochs', String(epochs)],
  corpus: 'jaychou_lyrics.txt',
  keeps: true,
  originalTime,
  seeds: 3,
  quick: ['--epochs', '2'],
  figures: Object.fromEntries(
    Object.entries(original).map(([epoch, value]) => [
      `perplexity after ${epoch}`,
      { original: value, pattern: lyricsAt(epoch) },
    ]),
  ),
  quickFigures: { perplexity: { pattern: lyricsAt(2) } },
})

const number = '([\\d.]+(?:,\\d{3})*)'
const epochLine = (epoch) =>
  `^epoch ${epoch}/\\d+: .*?perplexity ${number}.*?valid perplexity ${number}`

export const rows = [
  lyrics(
    'lyrics-rnn',
    '1. Song lyrics, characters, one-hot, 256 units: RNN',
    ['--cell', 'rnn', ...unclipped],
    250,
    { 50: '10.66', 100: '1.31', 150: '1.07', 200: '1.03', 250: '1.02' },
    '0.05 s an epoch',
  ),
  lyrics('lyrics-gru', '1. GRU', ['--cell', 'gru'], 40, { 40: '1.022' }, '1.02 s an epoch'),
  lyrics(
    'lyrics-lstm',
    '1. LSTM',
    ['--cell', 'lstm', ...unclipped],
    80,
    { 40: '1.020', 80: '' },
    '1.54 s an epoch',
  ),
  lyrics(
    'lyrics-lstm2',
    '1. LSTM of two layers',
    ['--cell', 'lstm2', ...unclipped],
    160,
    { 40: '12.84', 80: '1.25', 120: '1.022', 160: '1.016' },
    '1.52 s an epoch',
  ),
  lyrics(
    'lyrics-bigru',
    '1. GRU in both directions, 2 × 128',
    ['--cell', 'bigru'],
    40,
    { 40: '1.0017' },
    '0.91 s an epoch',
  ),
  lyrics('lyrics-random', '1. GRU, random windows', ['--cell', 'gru', '--sampling', 'random'], 80, {
    40: '',
    80: '',
  }),
  {
    name: 'by-hand',
    title: '2. A simple recurrent network by hand',
    command: ['by-hand'],
    corpus: null,
    seeds: 1,
    quick: [],
    figures: {
      'the outputs': {
        original: '4 4, 12 12, 32 32',
        pattern: 'without activation\\n  1,1 → (.*)\\n  1,1 → (.*)\\n  2,2 → (.*)$',
      },
    },
  },
  {
    name: 'binary-addition',
    title: '3. Binary addition, 16 sigmoid units',
    command: ['binary-addition'],
    corpus: null,
    seeds: 3,
    quick: ['--epochs', '50'],
    figures: {
      'right sums of the last 100': {
        original: 'right after some thousand problems',
        pattern: '^(\\d+) of the last',
      },
    },
  },
  {
    name: 'dinosaurs',
    title: '4. Dinosaur names',
    command: ['dinosaurs', '--epochs', '35000'],
    corpus: 'dinos.txt',
    seeds: 3,
    quick: ['--epochs', '50'],
    figures: { 'smoothed loss': { original: '22.5', pattern: '^iteration \\d+, loss ([\\d.]+)' } },
  },
  ...[[], ['--packed']].map((options) => ({
    name: ['encoder-decoder', ...options].join('').replace('--', '-'),
    title: options.length === 0 ? '5. Encoder–decoder, six pairs' : '5. The same, packed',
    command: ['encoder-decoder', ...options],
    corpus: null,
    seeds: 3,
    quick: ['--epochs', '20'],
    figures: {
      'man, king, black, girl, up, high': {
        original: 'all six',
        pattern:
          '^man → (.*)\\n.*\\nking → (.*)\\nblack → (.*)\\n.*\\ngirl → (.*)\\nup → (.*)\\nhigh → (.*)$',
      },
    },
  })),
  {
    name: 'bucketing',
    title: '6. Penn Treebank in buckets, LSTM 2 × 256',
    command: ['bucketing', '--epochs', '2'],
    corpus: '.',
    keeps: true,
    originalTime: '215 samples/s',
    seeds: 1,
    quick: ['--epochs', '1', '--width', '8'],
    figures: {
      'perplexity after 1: training, validation': {
        original: '1044.8, 853.8',
        pattern: epochLine(1),
      },
      'after 2': { original: '869.8, 747.7', pattern: epochLine(2) },
    },
    quickFigures: { 'after 1': { pattern: epochLine(1) } },
  },
  ...['gru', 'scratch'].map((model) => ({
    name: `time-machine-${model}`,
    title:
      model === 'gru' ? '7. The Time Machine, GRU of two layers' : '7. The same from scratch, tanh',
    command: ['time-machine', '--model', model, '--epochs', '100'],
    corpus: 'timemachine.txt',
    keeps: true,
    seeds: 3,
    quick: ['--epochs', '1', '--plot', process.platform === 'win32' ? 'NUL' : '/dev/null'],
    figures: {
      'perplexity: training, validation': {
        original: 'a picture of the loss',
        pattern: '^perplexity ([\\d.]+), validation ([\\d.]+)',
      },
    },
  })),
  {
    name: 'word-model',
    title: '8. Words of the Penn Treebank, LSTM 100',
    command: ['word-model', '--epochs', '4'],
    corpus: '.',
    keeps: true,
    originalTime: '33 min',
    seeds: 3,
    quick: ['--epochs', '1', '--width', '8'],
    figures: { 'test perplexity': { original: '136.3', pattern: '^test perplexity ([\\d.]+)' } },
  },
  {
    name: 'word-model-large',
    title: '9. The larger one, LSTM 2 × 650, tied, dropout 0.5',
    command: ['word-model-large', '--precision', 'bf16-mixed', '--epochs', '40'],
    corpus: '.',
    keeps: true,
    originalTime: 'under 3 h (GTX 1060)',
    seeds: 1,
    hours: true,
    quick: ['--epochs', '1', '--width', '8', '--out', '{folder}/large'],
    figures: {
      'validation perplexity by epoch': {
        original: '',
        pattern: `^epoch \\d+/\\d+: .*?valid perplexity ${number}`,
        all: true,
      },
      'test perplexity': { original: '76–79', pattern: '^test perplexity ([\\d.]+)' },
    },
  },
  {
    name: 'awd-lstm',
    title: '10. AWD-LSTM, 3 × 1150, embedding 400',
    command: ['awd-lstm', '--precision', 'bf16-mixed', '--epochs', '500'],
    corpus: '.',
    keeps: true,
    seeds: 1,
    hours: true,
    quick: ['--epochs', '1', '--width', '12', '--embedding', '8', '--batches', '4'],
    figures: {
      'validation perplexity by epoch': {
        original: '60.0 at the end',
        pattern: `^epoch \\d+/\\d+: .*?valid perplexity ${number}`,
        all: true,
      },
      'test perplexity': { original: '57.3', pattern: '^test perplexity ([\\d.]+)' },
    },
  },
]

/** Small files with the corpora's names and alphabets: Chinese characters, names, words with <unk>. */
export function makeExcerpts(folder) {
  let state = 1
  const below = (n) => {
    state = (state * 48271) % 2147483647
    return state % n
  }
  const pick = (values) => values[below(values.length)]
  const lines = (count, line) => `${Array.from({ length: count }, line).join('\n')}\n`
  const write = (name, text) => writeFileSync(join(folder, name), text)
  mkdirSync(folder, { recursive: true })

  const characters = Array.from({ length: 300 }, (_, i) => String.fromCodePoint(0x4e00 + 7 * i))
  const some = (n, from) => Array.from({ length: n }, () => pick(from)).join('')
  write(
    'jaychou_lyrics.txt',
    lines(300, () => `${some(4, characters)} ${some(6, characters)}`),
  )
  const syllables = ['tri', 'ce', 'ra', 'tops', 'al', 'lo', 'sau', 'rus', 'ty', 'ran', 'no']
  write(
    'dinos.txt',
    lines(60, () => some(2 + below(4), syllables)),
  )
  const words = [
    'the',
    'time',
    'traveller',
    'for',
    'so',
    'it',
    'will',
    'be',
    'has',
    'said',
    'his',
    'eyes',
  ]
  write(
    'timemachine.txt',
    lines(800, () => Array.from({ length: 6 }, () => pick(words)).join(' ')),
  )
  const treebank = [...words, '<unk>', 'N', "n't", "'s", 'mr.', '$', 'million']
  const sentence = () =>
    ` ${Array.from({ length: 3 + below(30) }, () => pick(treebank)).join(' ')} `
  for (const [part, count] of Object.entries({ train: 600, valid: 400, test: 100 })) {
    write(`ptb.${part}.txt`, lines(count, sentence))
  }
}
