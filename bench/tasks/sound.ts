/**
 * Spelling to sound: `node dist-bench/tasks/sound.js FILE [SEEDS]`. FILE is data/data.json or the text of
 * CMUdict ("word  PH1 PH2 …" lines). Of 10,000 words drawn by the seed nine tenths are learnt from in 5
 * epochs; the phoneme error of the rest, greedy and with a beam of 4, is told.
 */
import { readFile } from 'node:fs/promises'
import { manualSeed, models, setNumThreads } from 'fused-rnn'

const [file, seeds = '3'] = process.argv.slice(2)
if (file === undefined) throw new Error('usage: node dist-bench/tasks/sound.js FILE [SEEDS]')
setNumThreads(1)

const words: models.SequencePair[] = []
for (const line of (await readFile(file, 'latin1')).split('\n')) {
  const [, word, sound] = /^([A-Za-z']+)\s+([A-Z][A-Z0-9 ]*)$/.exec(line.trim()) ?? []
  if (word !== undefined && sound !== undefined)
    words.push({ input: word.toLowerCase(), target: sound.replace(/\d/g, '').split(' ') })
}
console.log(`${words.length} words`)

let all = [0, 0]
for (let seed = 1; seed <= Number(seeds); seed++) {
  let state = seed
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  const order = words.map((word) => ({ word, at: next() })).sort((a, b) => a.at - b.at)
  const chosen = order.slice(0, 10_000).map(({ word }) => word)
  manualSeed(seed)
  const before = process.cpuUsage()
  const model = new models.Seq2Seq()
  await model.fit(chosen.slice(0, 9000), { seed, maxEpochs: 5, valid: 0, progressBar: false })
  const greedy = await model.evaluate(chosen.slice(9000), { beamSize: 1 })
  const beam = await model.evaluate(chosen.slice(9000), { beamSize: 4 })
  const { user, system } = process.cpuUsage(before)
  all = [(all[0] as number) + greedy.errorRate, (all[1] as number) + beam.errorRate]
  console.log(
    `seed ${seed}: greedy ${(100 * greedy.errorRate).toFixed(2)} %, beam ${(100 * beam.errorRate).toFixed(2)} %, ${((user + system) / 1e6).toFixed(0)} s`,
  )
}
const [g, b] = all.map((sum) => ((100 * sum) / Number(seeds)).toFixed(2))
console.log(`mean: greedy ${g} % (bar 14.5), beam ${b} % (bar 14.1)`)
