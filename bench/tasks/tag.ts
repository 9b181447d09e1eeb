/**
 * Stress of spoken words as tags: `node dist-bench/tasks/tag.js FILE [SEEDS]`. FILE is the text of CMUdict
 * ("word  PH1 PH2 …" lines). The tokens are phonemes without their stress marks; from each vowel to the
 * next one goes a span, whose type is the vowel's stress (B-0, B-1, B-2, I-…; O before the first vowel).
 * Of words with three phonemes or more, drawn by the seed, 8,000 are learnt from in 6 epochs, 2,000 are
 * told; with and without a conditional random field. tag.py is the same in PyTorch.
 */
import { readFile } from 'node:fs/promises'
import { manualSeed, models, setNumThreads } from 'fused-rnn'

const [file, seeds = '3'] = process.argv.slice(2)
if (file === undefined) throw new Error('usage: node dist-bench/tasks/tag.js FILE [SEEDS]')
setNumThreads(1)

const words: models.TaggedSequence[] = []
for (const line of (await readFile(file, 'latin1')).split('\n')) {
  const [, sound] = /^[A-Za-z']+\s+([A-Z][A-Z0-9 ]*)$/.exec(line.trim()) ?? []
  const phonemes = sound?.split(' ') ?? []
  if (phonemes.length < 3) continue
  let stress: string | null = null
  const tags = phonemes.map((one) => {
    const mark = /\d/.exec(one)?.[0]
    stress = mark ?? stress
    return stress === null ? 'O' : `${mark === undefined ? 'I' : 'B'}-${stress}`
  })
  words.push({ input: phonemes.map((one) => one.replace(/\d/, '')), tags })
}
console.log(`${words.length} words`)

const TOLD = 2000
for (const crf of [false, true]) {
  const sums = [0, 0, 0]
  for (let seed = 1; seed <= Number(seeds); seed++) {
    // The generator of Numerical Recipes, as in tag.py.
    let state = seed
    const next = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return state / 2 ** 32
    }
    const order = words.map((word) => ({ word, at: next() })).sort((a, b) => a.at - b.at)
    const chosen = order.slice(0, 8000 + TOLD).map(({ word }) => word)
    const [train, test] = [chosen.slice(0, 8000), chosen.slice(8000)]
    manualSeed(seed)
    const before = process.cpuUsage()
    const model = new models.SequenceTagger({ features: [], crf })
    await model.fit(train, { seed, maxEpochs: 6, valid: 0, progressBar: false })
    const { accuracy, spanF1 } = await model.evaluate(test)
    const { user, system } = process.cpuUsage(before)
    const seconds = (user + system) / 1e6
    ;[accuracy, spanF1 as number, seconds].forEach((x, k) => {
      sums[k] = (sums[k] as number) + x / Number(seeds)
    })
    if (seed === 1 && !crf) {
      const counts = new Map<string, Map<string, number>>()
      for (const { input, tags } of train)
        input.forEach((token, t) => {
          const of = counts.get(token) ?? new Map<string, number>()
          counts.set(token, of.set(tags[t] as string, (of.get(tags[t] as string) ?? 0) + 1))
        })
      const usual = (token: string): string | undefined =>
        [...(counts.get(token) ?? [])].sort(([, a], [, b]) => b - a)[0]?.[0]
      const right = test.flatMap(({ input, tags }) =>
        tags.map((tag, t) => tag === usual(input[t] as string)),
      )
      console.log(
        `the most frequent tag of each phoneme: accuracy ${(right.filter(Boolean).length / right.length).toFixed(4)}`,
      )
    }
    console.log(
      `crf ${crf}, seed ${seed}: accuracy ${accuracy.toFixed(4)}, span F1 ${spanF1?.toFixed(4)}, ${seconds.toFixed(1)} s`,
    )
  }
  const [accuracy, f1, seconds] = sums as [number, number, number]
  console.log(
    `crf ${crf}, mean: accuracy ${accuracy.toFixed(4)}, span F1 ${f1.toFixed(4)}, ${seconds.toFixed(1)} s`,
  )
}
