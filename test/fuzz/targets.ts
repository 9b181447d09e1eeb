/** Readers of files from elsewhere: each takes them, or says in a clear error why not. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  data,
  EarlyStopping,
  io,
  ModelCheckpoint,
  manualSeed,
  models,
  nn,
  noGrad,
  onnx,
  optim,
  randn,
  synchronize,
  Trainer,
  tensor,
} from 'fused-rnn'
import { pickled } from '../../dist/io/torch/pickle.js'
import { zipped } from '../../dist/io/zip_writer.js'
import { hdf5, keras, tfjs } from './keras_targets.js'
import { expectClear, join0, parts, type Target, write } from './target.js'

// ---- safetensors -----------------------------------------------------------------------------------

/** The eight bytes with the header's length as the closing bracket says. */
function withHeaderLength(input: Uint8Array): Uint8Array {
  const bytes = Buffer.from(input)
  let depth = 0
  for (let i = 8; i < bytes.length; i++) {
    if (bytes[i] === 0x7b) depth++
    if (bytes[i] !== 0x7d || --depth > 0) continue
    bytes.writeBigUInt64LE(BigInt(i - 7))
    return bytes
  }
  return bytes
}

function header(entries: object, values = 0): Uint8Array {
  const text = Buffer.from(JSON.stringify(entries))
  return withHeaderLength(Buffer.concat([Buffer.alloc(8), text, Buffer.alloc(values, 63)]))
}

const DTYPES = 'F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL'.split(' ')

const safetensors: Target = {
  async seeds() {
    const of = (dtype: string, shape: number[], bytes: number): object => ({
      dtype,
      shape,
      data_offsets: [0, bytes],
    })
    return [
      header({}),
      header({ __metadata__: { format: 'pt', ä: '\n' }, a: of('F32', [2, 2], 16) }, 16),
      ...DTYPES.map((dtype) => header({ a: of(dtype, [0], 0) })),
      ...DTYPES.map((dtype) => {
        const width = Number(/\d+/.exec(dtype) ?? 8) / 8
        return header({ a: of(dtype, [1], width) }, width)
      }),
    ]
  },
  async run(input) {
    let contents: io.safetensors.Contents
    try {
      contents = io.safetensors.parse(input)
    } catch (error) {
      return expectClear(error, /^\[safetensors\.parse\] /)
    }
    // What was read is written and read again as the same.
    const { tensors, metadata } = contents
    const again = io.safetensors.parse(await io.safetensors.serialize(tensors, { metadata }))
    if (again.tensors.size !== tensors.size || again.metadata.size !== metadata.size)
      throw new Error('other contents after writing and reading')
    for (const [name, tensor] of tensors) {
      const other = again.tensors.get(name)
      if (String(other?.shape) !== String(tensor.shape)) throw new Error(`another shape of ${name}`)
      const [a, b] = [await tensor.data(), await other?.data()]
      if (b === undefined || !a.every((v, i) => Object.is(v, b[i])))
        throw new Error(`other values of ${name}`)
      tensor[Symbol.dispose]()
      other?.[Symbol.dispose]()
    }
  },
  repair: withHeaderLength,
}

// ---- Models and checkpoints: texts and a file of tensors, with zero bytes in between ------------------

const repairLast =
  (texts: number) =>
  (input: Uint8Array): Uint8Array => {
    const list = parts(input, texts)
    return join0([...list.slice(0, -1), withHeaderLength(list.at(-1) as Buffer)])
  }

const text = 'to be or not to be, that is the question'
const vocabulary = data.Vocabulary.fromText(text)
const tokens = vocabulary.encode(text)
const SIZES = { embeddingSize: 2, hiddenSize: 2, numLayers: 1, dropout: 0.5 }

const read = async (folder: string, names: readonly string[]): Promise<Buffer> => {
  const { readFile } = await import('node:fs/promises')
  return join0(await Promise.all(names.map((name) => readFile(join(folder, name)))))
}

const MODEL = ['config.json', 'vocabulary.json', 'model.safetensors']

const model: Target = {
  async seeds(folder) {
    const kinds = [
      { ...SIZES, vocabulary },
      { ...SIZES, vocabulary, cell: 'rnn' as const, nonlinearity: 'relu' as const },
      { ...SIZES, vocabulary, cell: 'gru' as const, tieWeights: true },
      { ...SIZES, vocabulary, embeddingSize: 0, numLayers: 2 },
    ]
    const made: Uint8Array[] = []
    for (const [i, options] of kinds.entries()) {
      await new models.LanguageModel(options).save(join(folder, String(i)))
      made.push(await read(join(folder, String(i)), MODEL))
    }
    return made
  },
  async run(input, folder) {
    const files = parts(input, 2)
    write(folder, Object.fromEntries(MODEL.map((name, i) => [name, files[i] as Buffer])))
    try {
      const loaded = await models.LanguageModel.load(folder)
      const generator = loaded.generate([0], { length: 2, seed: 1 })
      for await (const token of generator) loaded.vocabulary?.token(token)
    } catch (error) {
      // Weights that are NaN are weights; drawing from them is not possible.
      expectClear(error, /^\[(LanguageModel\.load|sample)\] /)
    }
    await synchronize().catch((error) => expectClear(error, /^\[sample\] /))
  },
  repair: repairLast(2),
}

const STATE = ['trainer.json', 'trainer.safetensors']

/** A training with everything that a checkpoint keeps. */
async function train(maxSteps: number, folder: string, from: string | null): Promise<void> {
  manualSeed(1)
  const made = new models.LanguageModel({ ...SIZES, vocabulary })
  const batches = new data.RandomWindows(tokens, { batchSize: 2, sequenceLength: 4, seed: 1 })
  const optimizer = new optim.Adam(made.parameters(), { lr: 0.01, amsgrad: true })
  const scheduler = new optim.lrScheduler.ReduceLROnPlateau(optimizer)
  const callbacks =
    from === null
      ? [new ModelCheckpoint({ dirpath: folder, monitor: 'trainLoss' })]
      : [new ModelCheckpoint({ dirpath: folder, saveLast: false })]
  const trainer = new Trainer({
    maxSteps,
    progressBar: false,
    logEveryNSteps: 1,
    callbacks: [new EarlyStopping({ monitor: 'trainLoss', patience: 100 }), ...callbacks],
  })
  await trainer.fit(made, batches, null, { optimizer, scheduler, ...(from && { ckptPath: from }) })
}

const checkpoint: Target = {
  async seeds(folder) {
    const made: Uint8Array[] = []
    for (const steps of [1, 6]) {
      await train(steps, join(folder, String(steps)), null)
      made.push(await read(join(folder, String(steps), 'last'), STATE))
      made.push(withoutHashes(made.at(-1) as Uint8Array))
    }
    const weights = new models.LanguageModel({ ...SIZES, vocabulary }).stateDict()
    await io.safetensors.save(join(folder, 'model.safetensors'), weights)
    return made
  },
  async run(input, folder) {
    const files = parts(input, 1)
    write(folder, Object.fromEntries(STATE.map((name, i) => [name, files[i] as Buffer])))
    try {
      await train(8, folder, folder)
    } catch (error) {
      expectClear(error, /^\[[\w. ]+\] /)
    }
    await synchronize().catch((error) => expectClear(error, /^\[[\w. ]+\] /))
  },
  repair: (input) => withoutHashes(repairLast(1)(input)),
}

/** As earlier versions wrote checkpoints: else most changes would end at the hash. */
function withoutHashes(input: Uint8Array): Uint8Array {
  const [head = Buffer.alloc(0), ...rest] = parts(input, 1)
  return join0([Buffer.from(String(head).replace(/"files":\{[^{}]*\},?/, '')), ...rest])
}

/** A text file is the text that its bytes are. */
const texts: Target = {
  async seeds() {
    const texts = ['a', 'größe 日本 😀\n', '\ufeffa']
    const utf16 = Buffer.from(`${texts[2]}${texts[1]}`, 'utf16le')
    return [...texts.map((text) => Buffer.from(text)), utf16, Buffer.from(utf16).swap16()]
  },
  async run(input, folder) {
    const path = join(folder, 'text')
    writeFileSync(path, input)
    try {
      const found = await data.loadText(path)
      const [a, b] = input
      const [little, big] = [a === 0xff && b === 0xfe, a === 0xfe && b === 0xff]
      const encoding = little ? 'utf-16le' : big ? 'utf-16be' : 'utf-8'
      if (found !== new TextDecoder(encoding, { fatal: true }).decode(input))
        throw new Error('another text')
    } catch (error) {
      expectClear(error, /^\[loadText\] /)
    }
  },
  repair: (input) => input,
}

/** What lies where a training's lock should be. */
const lock: Target = {
  async seeds() {
    const owner = {
      format: 'fused-rnn lock',
      token: '0',
      what: 'the training',
      pid: process.pid,
      thread: null,
      started: null,
      host: 'h',
      machine: 'h',
      since: '2026-01-01T00:00:00.000Z',
    }
    return ['', JSON.stringify(owner), JSON.stringify({ ...owner, pid: -1 })].map((text) =>
      Buffer.from(text),
    )
  },
  async run(input, folder) {
    const dirpath = join(folder, 'locked')
    write(dirpath, { '.last.fused-rnn.lock': input })
    const model = new models.LanguageModel({ ...SIZES, vocabulary })
    const batches = new data.SequentialBatches(tokens, { batchSize: 2, sequenceLength: 4 })
    const callbacks = [new ModelCheckpoint({ dirpath })]
    try {
      await new Trainer({ maxSteps: 1, progressBar: false, callbacks }).fit(model, batches)
    } catch (error) {
      expectClear(error, /^\[(fit|saveCheckpoint)\] /)
    }
  },
  repair: (input) => input,
}

// ---- Files of torch.save: archives, and pickles in archives ------------------------------------------

async function loadTorch(bytes: Uint8Array, folder: string): Promise<void> {
  const path = join(folder, 'file.pt')
  writeFileSync(path, bytes)
  let value: unknown
  try {
    value = await io.torch.load(path)
  } catch (error) {
    return expectClear(error, /^\[torch\.load\] /)
  }
  try {
    await io.torch.save(path, value)
    await io.torch.load(path)
    io.torch.stateDict(value)
  } catch (error) {
    expectClear(error, /^\[torch\.(save|stateDict)\] /)
  }
}

const torchValues = (): unknown[] => [
  1,
  new Map([['a', tensor([1, 2])]]),
  { a: tensor([1, 0], { dtype: 'bool' }), b: [2 ** 40, 0.5, null, true, 'x'] },
]
const archiveOf = (pickle: Uint8Array, values: Uint8Array): Buffer =>
  Buffer.concat([
    ...zipped([
      { name: 'a/data.pkl', bytes: pickle },
      { name: 'a/byteorder', bytes: Buffer.from('little') },
      { name: 'a/data/0', bytes: values },
    ]),
  ])

/** The checksums of all files in an archive taken away, so that not all changes end there. */
function withoutChecksums(input: Uint8Array): Uint8Array {
  const bytes = Buffer.from(input)
  for (let at = bytes.indexOf('PK\x01\x02'); at >= 0; at = bytes.indexOf('PK\x01\x02', at + 1))
    if (at + 20 <= bytes.length) bytes.writeUInt32LE(0, at + 16)
  return bytes
}

const torch: Target = {
  async seeds() {
    return torchValues().map((value) => archiveOf(pickled('', value).bytes, Buffer.alloc(8)))
  },
  run: loadTorch,
  repair: withoutChecksums,
}

const pickle: Target = {
  async seeds() {
    return torchValues().map((value) => pickled('', value).bytes)
  },
  run: (input, folder) => loadTorch(archiveOf(input, Buffer.alloc(64, 1)), folder),
  repair: (input) => (input.at(-1) === 0x2e ? input : Buffer.concat([input, Buffer.from('.')])),
}

// ---- ONNX ------------------------------------------------------------------------------------------

const onnxModel: Target = {
  async seeds() {
    const bidirectional = { bidirectional: true, batchFirst: true }
    const made = [
      new nn.LSTM(1, 1),
      new nn.GRU(1, 2, bidirectional),
      new nn.RNN(1, 1, { bias: false }),
      new nn.Sequential(new nn.Embedding(2, 1), new nn.Linear(1, 2)),
      new models.LanguageModel({ ...SIZES, vocabSize: 3, embeddingSize: 0 }),
    ]
    return Promise.all(made.map((one) => onnx.serialize(one)))
  },
  async run(input, folder) {
    const path = join(folder, 'model.onnx')
    writeFileSync(path, input)
    let found: unknown
    try {
      const loaded = await onnx.load(path)
      const given = loaded.inputNames.map((name) => {
        if (name === 'tokens') return tensor([[1], [0]], { dtype: 'int32' })
        return name === 'input' ? randn([2, 1, 1]) : randn([1, 1, 1])
      })
      found = noGrad(() => loaded.forward(...given))
    } catch (error) {
      return expectClear(error, /^\[onnx(\.load)?\] /)
    }
    const outputs = [found].flat() as { data(): Promise<unknown> }[]
    for (const one of outputs) await one.data().catch((error) => expectClear(error, /^\[/))
  },
  repair: (input) => input,
}

export const targets: Record<string, Target> = {
  ...{ safetensors, model, checkpoint, texts, lock },
  ...{ torch, pickle, tfjs, keras, hdf5, onnx: onnxModel },
}
