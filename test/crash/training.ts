/** A training for test/crash.test.ts, which is killed in the middle of it; a program of its own too. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { data, ModelCheckpoint, manualSeed, models, optim, Trainer } from 'fused-rnn'

const text = 'she sells sea shells by the sea shore; '.repeat(12)
const vocabulary = data.Vocabulary.fromText(text)
const tokens = vocabulary.encode(text)

/**
 * Everything that has a state: dropout, momenta, a schedule, carried hidden state, random order.
 * Goes on from the last checkpoint in `folder`, if there is one.
 * @param folder null: without checkpoints
 * @returns all weights, as bytes
 */
export async function train(maxSteps: number, folder: string | null): Promise<Uint8Array> {
  // What goes on comes from other weights and random numbers.
  const last = folder === null ? null : join(folder, 'last')
  const resumes = last !== null && existsSync(last)
  manualSeed(resumes ? 999 : 1)
  const sizes = { embeddingSize: 6, hiddenSize: 12, numLayers: 2, dropout: 0.3 }
  const model = new models.LanguageModel({ vocabulary, ...sizes })
  const batches = new data.SequentialBatches(tokens, { batchSize: 3, sequenceLength: 10 })
  const optimizer = new optim.Adam(model.parameters(), { lr: 0.01 })
  const scheduler = new optim.lrScheduler.ExponentialLR(optimizer, 0.99)
  const callbacks =
    folder === null ? [] : [new ModelCheckpoint({ dirpath: folder, everyNTrainSteps: 2 })]
  const trainer = new Trainer({ maxSteps, gradientClipVal: 0.5, progressBar: false, callbacks })
  await trainer.fit(model, batches, null, {
    optimizer,
    scheduler,
    ...(resumes && { ckptPath: last }),
  })
  const values = await Promise.all([...model.stateDict().values()].map((value) => value.data()))
  return Buffer.concat(values.map(({ buffer }) => new Uint8Array(buffer)))
}

if (process.argv[2] === 'train') {
  process.stdout.write('begins\n')
  await train(Number(process.argv[3]), process.argv[4] as string)
}
