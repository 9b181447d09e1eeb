/**
 * Spam or not: a recurrent network over mails in a table, beside a linear model over their words. The
 * linear one is as good or better here, learns in seconds, and is what to use; the network is for texts
 * where the order of the words matters.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'csv-parse/sync'
import { metrics, models, nn, noGrad, optim, tensor } from 'fused-rnn'
import { fail, options, orFail, randomNumbers, read, untilInterrupted } from './common.js'

interface Mail {
  input: string
  label: string
}

const given = options<{ text: string; label: string; out: string }>(
  'Learns to tell spam from other mails.',
  { epochs: 8, corpus: 'a CSV file with a column of texts and one of labels' },
  (command) =>
    command
      .option('--text <column>', 'the texts', 'text')
      .option('--label <column>', 'what they are: two words, such as ham and spam', 'label')
      .option('--out <folder>', 'for the model and what it says of the last mails', 'spam-filter'),
)
const next = randomNumbers(given.seed)

/** Mails of a made-up office, with words that both kinds have. */
function madeUp(): Mail[] {
  const words = 'we you the on for your order please now today new list more call time'.split(' ')
  const own = {
    ham: 'meeting report lunch patch draft notes'.split(' '),
    spam: 'prize winner free cash offer click'.split(' '),
  }
  return Array.from({ length: 600 }, (_, i) => {
    const label = i % 3 === 0 ? 'spam' : 'ham'
    const text = Array.from({ length: 10 + Math.floor(20 * next()) }, () => {
      const list = next() < 0.12 ? own[label] : words
      return list[Math.floor(next() * list.length)] as string
    })
    return { input: text.join(' '), label }
  })
}

/** The mails of a table; a row without a text or a label ends the program. */
async function load(path: string): Promise<Mail[]> {
  const text = await read(path)
  let rows: { record: Record<string, string>; info: { lines: number } }[]
  try {
    rows = parse(text, { columns: true, bom: true, skip_empty_lines: true, info: true })
  } catch (error) {
    return fail(`${path}: ${(error as Error).message}`)
  }
  return rows.map(({ record, info }) => {
    const [input, label] = [record[given.text], record[given.label]].map((field) => field?.trim())
    if (input === undefined) return fail(`${path} has no column '${given.text}' (--text)`)
    if (label === undefined) return fail(`${path} has no column '${given.label}' (--label)`)
    if (input === '') return fail(`${path}, line ${info.lines}: there is no text`)
    if (label === '') return fail(`${path}, line ${info.lines}: there is no label`)
    return { input, label }
  })
}

const mails = given.data === undefined ? madeUp() : await load(given.data)
const kinds = [...new Set(mails.map(({ label }) => label))].sort()
const counts = kinds.map((kind) => mails.filter(({ label }) => label === kind).length)
console.log(`${mails.length} mails: ${kinds.map((kind, i) => `${counts[i]} ${kind}`).join(', ')}`)
if (kinds.length !== 2) fail(`there are ${kinds.length} labels; a filter needs two`)
if (Math.min(...counts) < 20) fail('there are too few mails: at least 20 of each label')
await orFail(mkdir(given.out, { recursive: true }))

// The last fifth, in a random order, is what both models are told by.
const shuffled = mails
  .map((mail) => ({ mail, at: next() }))
  .sort((a, b) => a.at - b.at)
  .map(({ mail }) => mail)
const cut = Math.floor(0.8 * shuffled.length)
const [train, test] = [shuffled.slice(0, cut), shuffled.slice(cut)]
const truth = test.map(({ label }) => label)
const positive = kinds[1] as string
const f1 = (said: string[]): string => metrics.f1(said, truth, { positive }).toFixed(3)

/** Logistic regression over which words a mail has (TF-IDF): 40 steps over all of them at once. */
async function linear(): Promise<string[]> {
  const wordsOf = ({ input }: Mail): string[] => input.toLowerCase().match(/\p{L}+|\S/gu) ?? []
  const documents = new Map<string, number>()
  for (const mail of train)
    for (const word of new Set(wordsOf(mail))) documents.set(word, (documents.get(word) ?? 0) + 1)
  const known = [...documents].sort(([, a], [, b]) => b - a).slice(0, 5000)
  const index = new Map(known.map(([word], i) => [word, i]))
  const weights = known.map(([, count]) => 1 + Math.log((1 + train.length) / (1 + count)))
  const rows = (list: Mail[]) => {
    const values = new Float32Array(list.length * known.length)
    list.forEach((mail, i) => {
      const row = values.subarray(i * known.length, (i + 1) * known.length)
      for (const word of wordsOf(mail)) {
        const at = index.get(word)
        if (at !== undefined) row[at] = (row[at] as number) + 1
      }
      row.forEach((n, k) => {
        if (n > 0) row[k] = (1 + Math.log(n)) * (weights[k] as number)
      })
      const norm = Math.hypot(...row) || 1
      row.forEach((x, k) => {
        row[k] = x / norm
      })
    })
    return tensor(values, { shape: [list.length, known.length] })
  }
  const layer = new nn.Linear(known.length, 2)
  const optimizer = new optim.Adam(layer.parameters(), { lr: 0.1 })
  const [input, target] = [
    rows(train),
    tensor(Int32Array.from(train, ({ label }) => kinds.indexOf(label))),
  ]
  for (let step = 0; step < 40; step++) {
    optimizer.zeroGrad()
    nn.functional.crossEntropy(layer.forward(input), target).backward()
    optimizer.step()
  }
  const said = await noGrad(() => layer.forward(rows(test)).argmax(1)).data()
  return Array.from(said, (kind) => kinds[kind] as string)
}

const model = new models.SequenceClassifier({ classes: kinds })
const signal = untilInterrupted()
await orFail(model.fit(train, { seed: given.seed, maxEpochs: given.epochs, signal }))
const said = await model.predict(test.map(({ input }) => input))
console.log((await model.evaluate(test)).text)
const network = f1(said.map(({ label }) => String(label)))
console.log(`F1 of ${positive}: network ${network}, linear model over words ${f1(await linear())}`)
console.log(`what calls every mail ${positive} has ${f1(truth.map(() => positive))}`)

await model.save(join(given.out, 'model'))
const lines = said.map(({ label, score }, i) => `${label},${score.toFixed(3)},${truth[i]}`)
await writeFile(join(given.out, 'test.csv'), `label,score,truth\n${lines.join('\n')}\n`)
console.log(`model and test.csv are in ${given.out}`)
