/**
 * Saves where there is no room, for test/disk.test.ts: a program of its own.
 *
 *   make FOLDER     writes a first version of everything
 *   full FOLDER     on a small file system: fills it up to every amount of room, and writes a second
 *   limited FOLDER  under a limit of the size of files: writes a second version
 */
import { deepStrictEqual, ok, rejects } from 'node:assert/strict'
import { readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  data,
  History,
  io,
  ModelCheckpoint,
  models,
  nn,
  optim,
  type Tensor,
  Trainer,
} from 'fused-rnn'

const tokens = Int32Array.from({ length: 200 }, (_, i) => i % 50)
const sizes = { vocabSize: 50, embeddingSize: 32, hiddenSize: 32, numLayers: 1, dropout: 0 }

function model(value: number): models.LanguageModel {
  const made = new models.LanguageModel({ ...sizes, dropout: value / 10 })
  for (const parameter of made.parameters()) nn.init.constant(parameter, value)
  return made
}

async function onlyValue(tensors: Iterable<Tensor>): Promise<number> {
  const values = new Set<number>()
  for (const tensor of tensors) for (const v of await tensor.data()) values.add(v)
  deepStrictEqual(values.size, 1)
  return [...values][0] as number
}

/** A training of one step that leaves the weights as they are, with a checkpoint at its end. */
async function trained(value: number, folder: string): Promise<void> {
  const made = model(value)
  const batches = new data.SequentialBatches(tokens, { batchSize: 2, sequenceLength: 10 })
  await new Trainer({
    maxSteps: 1,
    progressBar: false,
    callbacks: [new ModelCheckpoint({ dirpath: join(folder, 'checkpoints') })],
  }).fit(made, batches, null, { optimizer: new optim.Adam(made.parameters(), { lr: 0 }) })
}

function history(value: number): History {
  const made = new History()
  for (let step = 0; step < 3000; step++)
    made.add({ kind: 'step', epoch: 0, step, metrics: { trainLoss: value } })
  return made
}

/** What is saved: how, how it is found again, and what an error says. */
const things: Record<
  string,
  {
    save: (value: number, folder: string) => Promise<void>
    load: (folder: string) => Promise<number>
    error: RegExp
  }
> = {
  'a file of tensors': {
    save: (value, folder) =>
      io.safetensors.save(join(folder, 'file.safetensors'), model(value).stateDict()),
    load: async (folder) =>
      onlyValue((await io.safetensors.load(join(folder, 'file.safetensors'))).values()),
    error: /^\[safetensors\.save\] .*file\.safetensors: E/,
  },
  'a model': {
    save: (value, folder) => model(value).save(join(folder, 'model')),
    load: async (folder) => {
      const loaded = await models.LanguageModel.load(join(folder, 'model'))
      const value = await onlyValue(loaded.parameters())
      deepStrictEqual(loaded.config.dropout, value / 10)
      return value
    },
    error: /^\[LanguageModel\.save\] cannot write '.*model': /,
  },
  'a checkpoint': {
    save: trained,
    load: async (folder) => {
      const loaded = await models.LanguageModel.load(join(folder, 'checkpoints/last'))
      return onlyValue(loaded.parameters())
    },
    error: /^\[saveCheckpoint\] cannot write '.*last': /,
  },
  'a history': {
    save: (value, folder) => history(value).writeCSV(join(folder, 'history.csv')),
    load: async (folder) => {
      const lines = (await data.loadText(join(folder, 'history.csv'))).split('\n')
      deepStrictEqual(lines.length, 3002)
      return Number(lines.at(-2)?.split(',').at(-1))
    },
    error: /^\[History\.writeCSV\] cannot write '.*history\.csv': E/,
  },
}

/** All names in a folder and those in it. */
const names = (folder: string): string[] =>
  readdirSync(folder, { recursive: true }).map(String).sort()

/** Tries to replace version 1 by version 2. @returns whether it could */
async function replace(name: string, folder: string): Promise<boolean> {
  const { save, load, error } = things[name] as (typeof things)[string]
  const before = names(folder)
  try {
    await save(2, folder)
  } catch (thrown) {
    const { message } = thrown as Error
    ok(error.test(message), message)
    ok(/ENOSPC|EFBIG|no space left|too large/.test(message), message)
    deepStrictEqual(await load(folder), 1, `${name}: not the old one`)
    deepStrictEqual(names(folder), before, `${name}: something is left behind`)
    return false
  }
  deepStrictEqual(await load(folder), 2, `${name}: not the new one`)
  return true
}

const [what, folder = ''] = process.argv.slice(2)
if (what === 'make') {
  for (const { save } of Object.values(things)) await save(1, folder)
} else if (what === 'limited') {
  // Without a handler, the system ends the process.
  process.on('SIGXFSZ', () => {})
  await rejects(model(2).save(join(folder, 'another')), /too large/)
  ok(!readdirSync(folder).includes('another'), 'a folder is left behind')
  for (const name of Object.keys(things)) ok(!(await replace(name, folder)), name)
} else {
  const filler = join(folder, 'filler')
  for (const [name, { save }] of Object.entries(things)) {
    let refused = 0
    for (let room = 0; ; room += 8192) {
      const { bavail, bsize } = statfsSync(folder)
      writeFileSync(filler, Buffer.alloc(Math.max(bavail * bsize - room, 0)))
      const done = await replace(name, folder)
      rmSync(filler)
      if (done) break
      refused++
    }
    ok(refused > 2, `${name}: refused ${refused} times`)
    console.log(`${name}: ${refused} times without room, nothing lost`)
    await save(1, folder)
  }
}
