/** Every function that takes a path takes a file: URL too, as a text and as an object. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { runInNewContext } from 'node:vm'
import test from 'ava'
import {
  CSVLogger,
  data,
  History,
  io,
  JSONLLogger,
  ModelCheckpoint,
  models,
  nn,
  ones,
  onnx,
  optim,
  type Tensor,
  TensorBoardLogger,
  Trainer,
} from 'fused-rnn'

const folder = mkdtempSync(join(tmpdir(), 'fused rnn # paths '))
test.after.always(() => rmSync(folder, { recursive: true, force: true }))

const model = new models.LanguageModel({
  vocabulary: data.Vocabulary.fromText('to be or not to be'),
  embeddingSize: 3,
  hiddenSize: 4,
  numLayers: 1,
  dropout: 0,
})
const history = History.fromJSON([
  { kind: 'step', epoch: 0, step: 1, metrics: { trainLoss: 1 } },
  { kind: 'step', epoch: 0, step: 2, metrics: { trainLoss: 2 } },
])

class Small extends nn.Module {
  layer = new nn.Linear(2, 1)
  override forward(x: Tensor): Tensor {
    return this.layer.forward(x)
  }
  trainingStep(x: Tensor): Tensor {
    return this.forward(x).sum()
  }
}

async function trainWith(
  trainer: Trainer,
  options: { ckptPath?: string | URL } = {},
): Promise<void> {
  const small = new Small()
  const optimizer = new optim.SGD(small.parameters())
  await trainer.fit(small, [ones([2, 2])], null, { optimizer, ...options })
}
const quiet = { progressBar: false as const, maxSteps: 1 }

/** What is done with a path, and a path that is there where something must be. */
const uses: Record<string, (path: string | URL) => Promise<unknown>> = {
  'safetensors.save': (path) => io.safetensors.save(path, new Map([['a', ones([2])]])),
  'LanguageModel.save': (path) => model.save(path),
  'onnx.export': (path) => onnx.export(new nn.Linear(2, 3), path),
  'History.writeCSV': (path) => history.writeCSV(path),
  'History.writeSVG': (path) => history.writeSVG(path),
  'Trainer.saveCheckpoint': async (path) => {
    const trainer = new Trainer(quiet)
    await trainWith(trainer)
    await trainer.saveCheckpoint(path)
  },
  ModelCheckpoint: async (path) => {
    const checkpoint = new ModelCheckpoint({ dirpath: path })
    await trainWith(new Trainer({ ...quiet, callbacks: [checkpoint] }))
  },
  CSVLogger: (path) => logged(new CSVLogger(path)),
  JSONLLogger: (path) => logged(new JSONLLogger(path)),
  TensorBoardLogger: (path) => logged(new TensorBoardLogger(path)),
}
async function logged(logger: CSVLogger | JSONLLogger | TensorBoardLogger): Promise<void> {
  logger.logMetrics({ loss: 1 }, 1)
  await logger.finalize()
}

/** What reads, and the use that wrote it. */
const readers: Record<string, [written: string, (path: string | URL) => Promise<unknown>]> = {
  'safetensors.load': ['safetensors.save', (path) => io.safetensors.load(path)],
  'safetensors.loadWithMetadata': [
    'safetensors.save',
    (path) => io.safetensors.loadWithMetadata(path),
  ],
  'LanguageModel.load': ['LanguageModel.save', (path) => models.LanguageModel.load(path)],
  loadText: ['History.writeCSV', (path) => data.loadText(path)],
  'fit ckptPath': [
    'Trainer.saveCheckpoint',
    (path) => trainWith(new Trainer({ ...quiet, maxSteps: 2 }), { ckptPath: path }),
  ],
}

test('a file: URL is the path that it names', async (t) => {
  const here = readdirSync('.')
  const foreign = (path: string): URL =>
    runInNewContext('({ href, protocol, pathname })', { ...plain(pathToFileURL(path)) }) as URL
  const spellings: [string, (path: string) => string | URL][] = [
    ['path', (path) => path],
    ['text', (path) => pathToFileURL(path).href],
    ['object', (path) => pathToFileURL(path)],
    ['capitals', (path) => pathToFileURL(path).href.replace('file:', 'FILE:')],
    ['one stroke', (path) => pathToFileURL(path).href.replace('file:///', 'file:/')],
    ['another realm', foreign],
  ]
  for (const [kind, spell] of spellings) {
    mkdirSync(join(folder, kind))
    for (const [name, use] of Object.entries(uses)) {
      const path = join(folder, kind, `${name} 100% ä`)
      await t.notThrowsAsync(use(spell(path)), `${name}, ${kind}`)
      t.true(existsSync(path), `${name}, ${kind}`)
    }
    for (const [name, [written, read]] of Object.entries(readers))
      await t.notThrowsAsync(
        read(spell(join(folder, kind, `${written} 100% ä`))),
        `${name}, ${kind}`,
      )
  }
  t.deepEqual(readdirSync('.'), here)
})

const plain = ({ href, protocol, pathname }: URL): Record<string, string> => ({
  href,
  protocol,
  pathname,
})

test('what is no path is refused, and nothing is written', async (t) => {
  const here = readdirSync('.')
  writeFileSync(join(folder, 'file'), 'x')
  const wrong: unknown[] = [
    '',
    null,
    undefined,
    7,
    {},
    ['a'],
    Buffer.from('a'),
    'https://host/model',
    's3://bucket/model',
    new URL('https://host/model'),
    'file:relative',
    'file:./relative',
    // On Windows a folder of another machine.
    ...(process.platform === 'win32' ? [] : ['file://host/model']),
    'file:///a%2Fb',
    'a\0b',
  ]
  const all = {
    ...uses,
    ...Object.fromEntries(Object.entries(readers).map(([k, [, f]]) => [k, f])),
  }
  for (const [name, use] of Object.entries(all)) {
    if (name === 'Trainer.saveCheckpoint') continue
    for (const path of wrong) {
      if (name === 'fit ckptPath' && path === undefined) continue
      const run = async (): Promise<unknown> => use(path as string)
      await t.throwsAsync(
        run,
        {
          instanceOf: TypeError,
          message: /^\[.*\] \w+: expected the path of a \w+, or a file: URL/,
        },
        `${name} of ${String(path)}`,
      )
    }
  }
  t.deepEqual(readdirSync('.'), here)
})
