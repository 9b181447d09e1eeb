/**
 * Lines of digits: `node dist-bench/tasks/digits.js FILE [SEEDS]`. FILE is scikit-learn's digits as CSV,
 * gzipped or not: 64 pixels (0 to 16) and the label. Of the images, drawn by the seed, four fifths make
 * 2,000 lines of 4 to 8 digits side by side (rows of 8 pixels, column by column) to learn from in 15
 * epochs, the others 400 lines whose character error is told. digits.py is the same in PyTorch.
 */
import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { manualSeed, models, setNumThreads } from 'fused-rnn'

const [file, seeds = '3'] = process.argv.slice(2)
if (file === undefined) throw new Error('usage: node dist-bench/tasks/digits.js FILE [SEEDS]')
setNumThreads(1)

const bytes = await readFile(file)
const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString()
const images = text
  .split('\n')
  .map((line) => line.split(',').map(Number))
  .filter((row) => row.length === 65 && row.every((x) => Number.isFinite(x)))

let errors = 0
for (let seed = 1; seed <= Number(seeds); seed++) {
  // The generator of Numerical Recipes, as in digits.py.
  let state = seed
  const next = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const mixed = [...images]
  for (let i = mixed.length - 1; i > 0; i--) {
    const k = next(i + 1)
    const [a, b] = [mixed[i], mixed[k]] as [number[], number[]]
    mixed[i] = b
    mixed[k] = a
  }
  const cut = Math.floor(0.8 * mixed.length)
  const lines = (of: number[][], count: number): models.TranscribedSequence[] =>
    Array.from({ length: count }, () => {
      const chosen = Array.from({ length: 4 + next(5) }, () => of[next(of.length)] as number[])
      const input = chosen.flatMap((image) =>
        Array.from({ length: 8 }, (_, x) =>
          Array.from({ length: 8 }, (_, y) => image[8 * y + x] as number),
        ),
      )
      return { input, target: chosen.map((image) => String(image[64])) }
    })
  const [train, test] = [lines(mixed.slice(0, cut), 2000), lines(mixed.slice(cut), 400)]
  manualSeed(seed)
  const before = process.cpuUsage()
  const model = new models.SequenceRecognizer()
  await model.fit(train, { seed, maxEpochs: 15, valid: 0, progressBar: false })
  const { errorRate, accuracy } = await model.evaluate(test)
  const { user, system } = process.cpuUsage(before)
  const beam = await model.evaluate(test, { beamSize: 8 })
  errors += errorRate
  console.log(
    `seed ${seed}: character error ${(100 * errorRate).toFixed(2)} %, with a beam of 8 ${(100 * beam.errorRate).toFixed(2)} %, whole lines right ${(100 * accuracy).toFixed(1)} %, ${((user + system) / 1e6).toFixed(1)} s`,
  )
}
console.log(`mean character error ${((100 * errors) / Number(seeds)).toFixed(2)} % (bar 3)`)
