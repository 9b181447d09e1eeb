/**
 * Fuzzes one reader, guided by coverage, in this process: TARGET SECONDS SEED CORPUS FOLDER. Inputs
 * that run new code are kept in the folder CORPUS, and those that have become useless are deleted
 * there; with 0 seconds, only what is there is run. The input that is running is in FOLDER/running,
 * for the one who finds this process dead.
 */
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Coverage } from './coverage.js'
import { mutated, randomFrom } from './mutate.js'
import { targets } from './targets.js'

const LONGEST = 8192

const [name = '', seconds = '10', seed = '1', corpusFolder = '', folder = ''] =
  process.argv.slice(2)
const target = targets[name]
if (target === undefined) throw new Error(`expected one of ${Object.keys(targets)}, got ${name}`)
mkdirSync(corpusFolder, { recursive: true })
const work = join(folder, 'work')
mkdirSync(work)
const running = join(folder, 'running')
const random = randomFrom(Number(seed))
const coverage = new Coverage(/\/dist\/(io|train|models|data|optim|nn|onnx)\//)

async function run(input: Uint8Array): Promise<boolean> {
  writeFileSync(running, input)
  await (target as (typeof targets)[string]).run(input, work)
  return coverage.isNew()
}

const corpus: Uint8Array[] = []
const seeds = await target.seeds(work)
const kept = readdirSync(corpusFolder)
  .map((file) => ({ file, input: readFileSync(join(corpusFolder, file)) }))
  .sort((a, b) => a.input.length - b.input.length)
coverage.isNew()
for (const input of seeds) {
  await run(input)
  corpus.push(input)
}
for (const { file, input } of kept) {
  if (await run(input)) corpus.push(input)
  // Shorter ones do the same.
  else if (Number(seconds) > 0) rmSync(join(corpusFolder, file))
}
const atFirst = { blocks: coverage.blocks, inputs: corpus.length }
const end = performance.now() + Number(seconds) * 1000
let runs = 0
while (performance.now() < end) {
  // The latest finds more often than the others.
  const back = random(2) === 0 ? random(Math.min(16, corpus.length)) : random(corpus.length)
  const from = corpus.at(-(1 + back)) as Uint8Array
  const changed = mutated(from, random, corpus, target.longest ?? LONGEST)
  const input = random(4) === 0 ? changed : target.repair(changed)
  if (await run(input)) {
    corpus.push(input)
    const id = createHash('sha256').update(input).digest('hex').slice(0, 16)
    copyFileSync(running, join(corpusFolder, id))
  }
  // Finalizers and signals have their turn.
  if (++runs % 64 === 0) await sleep(0)
}
console.log(
  `${name}: ${runs} runs in ${seconds} s, seed ${seed}; ${atFirst.blocks} blocks at first, ${coverage.blocks} at the end; ${corpus.length - atFirst.inputs} inputs found`,
)
