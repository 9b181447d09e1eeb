/**
 * The library for native programs, as its users have it: installed to a folder, found by
 * find_package(), its numbers beside those of TypeScript.
 */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import {
  backends,
  cat,
  data,
  getNumThreads,
  io,
  manualSeed,
  models,
  nn,
  optim,
  randn,
  setNumThreads,
  synchronize,
  type Tensor,
  tensor,
  utils,
} from 'fused-rnn'
import { kindOf, makeModel } from './crash/saving.js'
import { closeTo, emulated, limit, onCpu, projected, randomTensor, throwsWith } from './helpers.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const exec = promisify(execFile)

/** Why the library cannot be built here; empty if it can. */
function missing(): string {
  if (!onCpu) return 'the device is the native program’s to choose'
  if (spawnSync('cmake', ['--version']).status !== 0) return 'there is no cmake'
  if (!existsSync(join(root, 'build/CMakeCache.txt'))) return 'the addon was not built here'
  return ''
}
const why = missing()
const title = (text: string): string => (why === '' ? text : `${text} (left out: ${why})`)
const native = why === '' ? test.serial : test.serial.skip
/** test/embed/library.cpp over native/cuda_host; made by `npm run build:cuda-host`. */
const onHost = join(root, 'build/cuda-host/library_on_host')
const emulation = emulated && existsSync(onHost)
const anywhere = why === '' || emulation ? test.serial : test.serial.skip

let folder = ''
const at = (...names: string[]): string => join(folder, ...names)

async function cmake(...args: string[]): Promise<void> {
  await exec('cmake', args).catch((error: { stdout: string; stderr: string }) => {
    throw new Error(`cmake ${args.join(' ')}\n${error.stdout}\n${error.stderr}`)
  })
}

/** Builds a project with the installed library. */
async function build(source: string, into: string): Promise<void> {
  await cmake('-S', join(root, source), '-B', into, `-DCMAKE_PREFIX_PATH=${at('prefix')}`)
  await cmake('--build', into)
}

if (why === '' || emulation) {
  test.before(async (t) => {
    t.timeout(limit(1800))
    folder = await mkdtemp(join(tmpdir(), 'fused-rnn-embed-'))
    if (emulation) return
    await cmake('--build', join(root, 'build'), '--target', 'fused_rnn_library', '--parallel', '2')
    await cmake(
      ...['--install', join(root, 'build'), '--prefix', at('prefix'), '--component', 'library'],
    )
    await build('examples/cpp', at('example'))
    await build('test/embed', at('test'))
  })
  test.after.always(() => rm(folder, { recursive: true, force: true }))
}

/** The lines that test/embed/library.cpp writes. */
async function library(...args: string[]): Promise<string[]> {
  const { stdout } = await exec(emulation ? onHost : at('test/library'), args)
  return stdout.trimEnd().split('\n')
}

native(title('a plain cmake asks for no Node'), async (t) => {
  // A `node` that fails comes first on PATH.
  await mkdir(at('bin'))
  await writeFile(at('bin/node'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  const env = { ...process.env, PATH: `${at('bin')}${delimiter}${process.env.PATH}` }
  const { stdout } = await exec('cmake', ['-S', root, '-B', at('plain')], { env })
  t.regex(stdout, /Generating done/)
})

// ---- Models ----------------------------------------------------------------------------------------

const text = 'The quick brown fox jumps over the lazy dog; größe 日本.\n'.repeat(12)
const vocabulary = data.Vocabulary.fromText(text)
const prefix = 'The größ'
const STEPS = 12

/** What examples/cpp/language_model.cpp says, from TypeScript; trains the model. */
async function expected(model: models.LanguageModel): Promise<string[]> {
  const lines: string[] = []
  const write = async (): Promise<void> => {
    let out = ''
    for await (const token of model.generate(prefix, { temperature: 0.7, seed: 1, length: 80 }))
      out += vocabulary.token(token)
    lines.push(...`wrote ${out}`.split('\n'))
  }
  const ints = (values: ArrayLike<number>, ...shape: number[]): Tensor =>
    tensor(Int32Array.from(values), { shape })
  model.eval()
  const tokens = vocabulary.encode(prefix)
  let state: models.LanguageModelState | null = null
  for (let i = 0; i + 1 < tokens.length; i++) {
    const [logits, next]: [Tensor, models.LanguageModelState] = model.forward(
      ints(tokens.slice(i, i + 1), 1, 1),
      state,
    )
    state = next
    const values = (await logits.data()) as Float32Array
    const sum = values.reduce((total, x) => total + Math.exp(x), 0)
    lines.push(`surprise ${Math.log(sum) - (values[tokens[i + 1] as number] as number)}`)
  }
  await write()
  manualSeed(7)
  model.train()
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.5, momentum: 0.9, maxGradNorm: 1 })
  const all = vocabulary.encode(text)
  const [T, B] = [16, 4]
  const columns = Math.floor((all.length - 1) / B)
  const context = { carried: null, training: true, step: 0, epoch: 0 }
  let from = 0
  for (let step = 0; step < STEPS; step++) {
    const reset = from + T > columns
    if (reset) from = 0
    const cut = (shift: number): Tensor =>
      ints(
        Array.from({ length: T * B }, (_, i) => {
          const place = (i % B) * columns + from + Math.floor(i / B) + shift
          return all[place] as number
        }),
        T,
        B,
      )
    const batch = { input: cut(0), target: cut(1), reset, tokens: T * B }
    const { loss } = model.trainingStep(batch, context as never) as { loss: Tensor }
    from += T
    optimizer.zeroGrad()
    loss.backward()
    await optimizer.step()
    lines.push(`loss ${await loss.item()}`)
  }
  await write()
  return lines
}

function sameLines(t: ExecutionContext, actual: string[], wanted: string[], what: string): void {
  t.is(actual.length, wanted.length, what)
  for (const [i, line] of wanted.entries()) {
    const [kind, value] = line.split(' ')
    const other = actual[i] ?? ''
    if (kind !== 'loss' && kind !== 'surprise') t.is(other, line, what)
    else {
      t.true(other.startsWith(`${kind} `), `${what}: ${other}`)
      const difference = Math.abs(Number(other.split(' ')[1]) - Number(value))
      t.true(difference < 2e-6, `${what}: ${other} in place of ${line}`)
    }
  }
}

for (const [name, options] of Object.entries<Partial<models.LanguageModelConfig>>({
  'LSTM, tied weights, dropout': {
    cell: 'lstm',
    embeddingSize: 24,
    hiddenSize: 24,
    tieWeights: true,
    dropout: 0.3,
  },
  'GRU of one-hot vectors': { cell: 'gru', embeddingSize: 0, hiddenSize: 32, numLayers: 1 },
  'RNN of two layers': { cell: 'rnn', nonlinearity: 'relu', embeddingSize: 8, hiddenSize: 160 },
  'LSTM with layer norms': { cell: 'layerNormLSTM', embeddingSize: 8, hiddenSize: 20 },
  sLSTM: { cell: 'sLSTM', embeddingSize: 8, hiddenSize: 20, dropout: 0.3 },
  'IndRNN of one-hot vectors': { cell: 'indRNN', embeddingSize: 0, hiddenSize: 20, dropout: 0.3 },
  SRU: { cell: 'sru', embeddingSize: 20, hiddenSize: 20, numLayers: 3, dropout: 0.3 },
  minGRU: { cell: 'minGRU', embeddingSize: 8, hiddenSize: 20, dropout: 0.3 },
  minLSTM: { cell: 'minLSTM', embeddingSize: 8, hiddenSize: 20, dropout: 0.3 },
})) {
  native(title(`a model from TypeScript in the C++ example: ${name}`), async (t) => {
    const model = new models.LanguageModel({ vocabulary, ...options })
    await model.save(at('model'))
    await writeFile(at('text.txt'), text)
    const args = [at('model'), prefix, at('text.txt'), String(STEPS), at('tuned')]
    const { stdout } = await exec(at('example/language_model'), args)
    sameLines(t, stdout.replace(/\n$/, '').split('\n'), await expected(model), name)
    const tuned = await models.LanguageModel.load(at('tuned'))
    t.deepEqual(tuned.config, model.config)
    t.deepEqual(tuned.vocabulary?.toJSON(), vocabulary.toJSON())
    const trained = model.stateDict()
    for (const [key, value] of tuned.stateDict())
      await closeTo(t, value, trained.get(key) as Tensor, 2e-6, key)
  })
}

native(title('what is no model'), async (t) => {
  const model = new models.LanguageModel({ vocabulary, embeddingSize: 4, hiddenSize: 5 })
  await model.save(at('good'))
  const config = JSON.parse(await readFile(at('good/config.json'), 'utf8'))
  const damaged: [string, RegExp][] = []
  const damage = async (reason: RegExp, change: (folder: string) => Promise<unknown>) => {
    const path = at(`damaged${damaged.length}`)
    await model.save(path)
    await change(path)
    damaged.push([path, reason])
  }
  const withConfig = (changes: object) => (path: string) =>
    writeFile(join(path, 'config.json'), JSON.stringify({ ...config, ...changes }))
  await damage(/there is no such folder/, (path) => rm(path, { recursive: true }))
  await damage(/model.safetensors: no such file/, (path) => rm(join(path, 'model.safetensors')))
  await damage(/config.json: no such file/, (path) => rm(join(path, 'config.json')))
  await damage(/config.json: not JSON: expected a string at byte 1/, (path) =>
    writeFile(join(path, 'config.json'), '{1}'),
  )
  await damage(/config.json does not describe/, withConfig({ format: 'x' }))
  await damage(/hiddenSize: expected a whole number of at least 1/, withConfig({ hiddenSize: 0 }))
  await damage(
    /'decoder.weight': expected shape \(\d+, 6\), got \(\d+, 5\)/,
    withConfig({ hiddenSize: 6 }),
  )
  await damage(/expected 3 layers, got fewer/, withConfig({ numLayers: 3 }))
  await damage(
    /'rnn.weight_ih_l1' is not this model's|'rnn\.\w+_l1' is not/,
    withConfig({ numLayers: 1 }),
  )
  await damage(
    /cell: expected 'rnn', 'gru', .*'minLSTM' or 'sLSTM', got 'LSTM'/,
    withConfig({ cell: 'LSTM' }),
  )
  await damage(/are of two different models/, withConfig({ id: '0123' }))
  await damage(/vocabulary.json: expected \d+ tokens \(vocabSize\), got 3/, (path) =>
    writeFile(join(path, 'vocabulary.json'), JSON.stringify(data.Vocabulary.fromText('ab'))),
  )
  await damage(/vocabulary.json: no such file/, (path) => rm(join(path, 'vocabulary.json')))
  const other = data.Vocabulary.fromText(text.toUpperCase().slice(0, 20) + text.slice(0, 100))
  const strange = new data.Vocabulary(
    [...vocabulary.tokens.slice(0, -1), other.tokens.find((token) => !vocabulary.has(token)) ?? ''],
    { unknownToken: '<unk>' },
  )
  await damage(/config.json or vocabulary.json is not the one that was saved/, (path) =>
    writeFile(join(path, 'vocabulary.json'), JSON.stringify(strange)),
  )
  for (const name of ['config.json', 'vocabulary.json', 'model.safetensors'])
    await damage(new RegExp(`${name}: it is a named pipe, not a regular file`), async (path) => {
      await rm(join(path, name))
      await exec('mkfifo', [join(path, name)])
    })
  const lines = await library('models', at('good'), ...damaged.map(([path]) => path))
  t.is(lines.shift(), 'fine')
  for (const [i, [path, reason]] of damaged.entries()) {
    t.true(lines[i]?.startsWith(`error: [LanguageModel.load] '${path}' does not hold a model: `))
    t.regex(lines[i] ?? '', reason)
  }
})

native(title('both save into one folder and load from it: never parts of two'), async (t) => {
  t.timeout(240_000)
  const [a, b] = [makeModel(0), makeModel(1)]
  await a.save(at('kind0'))
  await b.save(at('kind1'))
  const path = at('shared', 'm')
  const child = spawn(at('test/library'), ['save', at('kind0'), at('kind1'), path])
  const ended = new Promise((resolve) => child.once('close', resolve))
  await new Promise((resolve) => child.stdout.once('data', resolve))
  const known = /^(0 0 a|1 0\.1 A)$/
  for (let i = 0; i < 10; i++) {
    await (i % 2 === 0 ? a : b).save(path)
    t.is(typeof (await kindOf(await models.LanguageModel.load(path))), 'number')
    for (const line of await library('load', path, '5')) t.regex(line, known)
  }
  t.is(child.exitCode, null, 'it still saves')
  child.kill('SIGKILL')
  await ended
  t.is(typeof (await kindOf(await models.LanguageModel.load(path))), 'number')
  t.regex((await library('load', path, '1'))[0] ?? '', known)
  await a.save(path)
  t.deepEqual((await readdir(path)).sort(), ['config.json', 'model.safetensors', 'vocabulary.json'])
  t.deepEqual(await readdir(at('shared')), ['m'])
})

// ---- Files -----------------------------------------------------------------------------------------

/** A file of tensors with this header and this number of bytes of data. */
function withHeader(header: string | Uint8Array, bytes = 0, length?: number): Buffer {
  const text = Buffer.from(header as string)
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(length ?? text.length))
  return Buffer.concat([size, text, Buffer.alloc(bytes)])
}

native(title('files of tensors: JSON and layout are read strictly'), async (t) => {
  const one = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
  const good: Buffer[] = [
    withHeader('{}'),
    withHeader(`{"a\\u00e9\\ud83d\\ude00\\n\u65e5" : ${one}, "__metadata__":{"k":"v"}}   `, 4),
    withHeader('{"a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}', 4),
    withHeader('{"a":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}}'),
    withHeader('{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4.0]}}', 4),
  ]
  const bad: [Buffer, RegExp][] = [
    [Buffer.alloc(7), /a file of 7 bytes is too short/],
    [withHeader('{}', 0, 3), /a header of 3 bytes in a file of 10 bytes/],
    [withHeader('{}', 0, 2 ** 50), /a header of \d+ bytes/],
    [withHeader(''), /does not begin with/],
    [withHeader('[]'), /does not begin with/],
    [withHeader('{"a" 1}'), /expected : at byte 5/],
    [withHeader('{"a":1,}'), /expected a string at byte 7/],
    [withHeader('{"a":1'), /expected , or }/],
    [withHeader('{} x'), /expected the end at byte 3/],
    [withHeader('{"a":nul}'), /expected a value/],
    [withHeader('{"a":01}'), /expected , or }/],
    [withHeader('{"a":1.}'), /expected a digit/],
    [withHeader('{"a":1e999}'), /within a double's range/],
    [withHeader('{"a":+1}'), /expected a value/],
    [withHeader('{"a\n":1}'), /no control character/],
    [withHeader('{"\\x":1}'), /expected an escape/],
    [withHeader('{"\\u12":1}'), /four hexadecimal digits/],
    [withHeader('{"\\ud83d":1}'), /both halves of a character/],
    [withHeader('{"\\ud83d\\u0041":1}'), /the second half/],
    [withHeader('{"a'), /expected "/],
    [withHeader(Buffer.from([0x7b, 0x22, 0xc0, 0x80, 0x22])), /expected UTF-8/],
    [withHeader(Buffer.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22])), /expected UTF-8/],
    [withHeader(Buffer.from([0x7b, 0x22, 0xf4, 0x90, 0x80, 0x80])), /expected UTF-8/],
    [withHeader(Buffer.from([0x7b, 0x22, 0xe6, 0x97])), /expected UTF-8/],
    [withHeader(`{"a":${'['.repeat(40)}`), /at most 32 levels/],
    [withHeader(`{"a":${one},"a":${one}}`, 4), /'a' stands twice/],
    [withHeader(`{"a":${one}}`, 8), /after byte 4 belong to no tensor/],
    [withHeader(`{"a":${one}}`), /'a' lies at bytes 0 to 4 of 0 bytes/],
    [withHeader(`{"a":${one},"b":${one}}`, 4), /overlaps another tensor at byte 0/],
    [withHeader('{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}', 4), /dtype 'F16'/],
    [withHeader('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', 4), /needs 8 bytes/],
    [withHeader('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', 4), /no shape/],
    [withHeader('{"a":{"dtype":"F32","shape":[0.5],"data_offsets":[0,4]}}', 4), /no shape/],
    [withHeader('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', 4), /lies at bytes/],
    [withHeader('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', 4), /no data_offsets/],
    [
      withHeader('{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}', 4),
      /fewer elements/,
    ],
    [withHeader('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}', 4), /unknown key/],
    [withHeader('{"a":7}'), /'a' is not an object/],
    [withHeader('{"__metadata__":{"k":1}}'), /not an object of texts/],
  ]
  await mkdir(at('files'), { recursive: true })
  const paths: string[] = []
  for (const bytes of [...good, ...bad.map(([bytes]) => bytes)]) {
    paths.push(at('files', String(paths.length)))
    await writeFile(paths.at(-1) as string, bytes)
  }
  const lines = await library('files', ...paths, at('files'), at('none'))
  t.deepEqual(
    lines.splice(0, good.length),
    good.map(() => 'fine'),
  )
  for (const [, reason] of bad) {
    const line = lines.shift() ?? ''
    t.true(line.startsWith('error: [load_safetensors] '), `${reason} in place of: ${line}`)
    t.regex(line, reason)
  }
  t.regex(lines[0] ?? '', /files: it is a folder, not a regular file$/)
  t.regex(lines[1] ?? '', /none: no such file or folder$/)
  // The same files are refused by TypeScript, but for what it can read besides.
  for (const [i, [bytes, reason]] of bad.entries()) {
    if (String(reason).includes('F16')) continue
    t.throws(() => io.safetensors.parse(bytes), undefined, `file ${i}, ${reason}`)
  }
})

// ---- Layers, arguments, memory ---------------------------------------------------------------------

anywhere('layers, loss and optimiser give what TypeScript gives', async (t) => {
  const inputs = new Map<string, Tensor>()
  const wanted = new Map<string, Tensor>()
  /** As Case::train in test/embed/library.cpp. */
  const train = async (name: string, parameters: [string, Tensor][]): Promise<void> => {
    for (const [key, parameter] of parameters)
      wanted.set(`${name}.grad.${key}`, (parameter.grad as Tensor).clone())
    const optimizer = new optim.SGD(
      parameters.map(([, parameter]) => parameter),
      {
        lr: 0.1,
        momentum: 0.9,
        weightDecay: 0.01,
        nesterov: true,
        maxGradNorm: 0.5,
        maxGradValue: 0.1,
      },
    )
    await optimizer.step()
    await optimizer.step()
    for (const [key, parameter] of parameters) wanted.set(`${name}.${key}`, parameter)
  }
  let seed = 0
  const given = (key: string, ...shape: number[]): Tensor => {
    const value = randomTensor(shape, ++seed)
    inputs.set(key, value)
    return value
  }
  const keep = (name: string, parameters: Iterable<[string, Tensor]>): void => {
    for (const [key, value] of parameters) inputs.set(`${name}.${key}`, value.detach().clone())
  }
  const [T, N] = [5, 2]
  /** What a layer gives, with the states beside h as C++ has them: side by side. */
  const run = (module: nn.RecurrentLayer, x: Tensor, h: Tensor | null, c: Tensor | null) => {
    if (module instanceof nn.SLSTM) {
      const memory = (c as Tensor).chunk(3, 2) as [Tensor, Tensor, Tensor]
      const [output, [hn, ...parts]] = module.forward(x, [h as Tensor, ...memory])
      return [output, hn, cat(parts, 2)] as const
    }
    const pair = module instanceof nn.LSTM || module instanceof nn.LayerNormLSTM
    const state = pair ? [h as Tensor, c as Tensor] : h
    const [output, after] = module.forward(x, state as Tensor)
    return [output, ...([after].flat() as Tensor[])] as const
  }
  const layer = async (
    name: string,
    module: nn.RecurrentLayer,
    stacks: number,
    P: number,
    withStates = true,
  ): Promise<void> => {
    keep(name, module.namedParameters())
    const x = given(`${name}.x`, T, N, module.inputSize)
    const h0 = withStates ? given(`${name}.h0`, stacks, N, P) : null
    const memory = module instanceof nn.SLSTM
    const pair = memory || module instanceof nn.LSTM || module instanceof nn.LayerNormLSTM
    const c0 = pair ? given(`${name}.c0`, stacks, N, memory ? 18 : 6) : null
    for (const leaf of [x, h0, c0]) if (leaf) leaf.requiresGrad = true
    const [output, hn, cn] = run(module, x, h0, c0)
    const outputs: [string, Tensor | undefined][] = [
      ['output', output],
      ['hn', hn],
      ['cn', cn],
    ]
    const there = outputs.filter((pair): pair is [string, Tensor] => pair[1] !== undefined)
    for (const [key, value] of there) wanted.set(`${name}.${key}`, value)
    wanted.set(`${name}.again`, output as Tensor)
    projected(
      there.map(([, value]) => value),
      there.map(([key, value]) => given(`${name}.d${key}`, ...value.shape)),
    ).backward()
    for (const [key, leaf] of [
      ['dx', x],
      ['dh0', h0],
      ['dc0', c0],
    ] as const)
      if (leaf) wanted.set(`${name}.${key}`, leaf.grad as Tensor)
    await train(name, [...module.namedParameters()])
  }
  const both = { numLayers: 2, bidirectional: true }
  await layer('lstm', new nn.LSTM(3, 6, { ...both, projSize: 4 }), 4, 4)
  await layer('gru', new nn.GRU(3, 6, { numLayers: 2, bias: false }), 2, 6)
  await layer('peephole', new nn.LSTM(3, 6, { peephole: true }), 1, 6)
  await layer('reset before', new nn.GRU(3, 6, { resetAfter: false }), 1, 6)
  await layer('rnn', new nn.RNN(3, 6, { nonlinearity: 'relu' }), 1, 6, false)
  await layer('layer norm', new nn.LayerNormLSTM(3, 6, { ...both, projSize: 4 }), 4, 4)
  await layer('slstm', new nn.SLSTM(3, 6, both), 4, 6)
  await layer('indrnn', new nn.IndRNN(3, 6, both), 4, 6)
  await layer('indrnn tanh', new nn.IndRNN(3, 6, { bias: false, nonlinearity: 'tanh' }), 1, 6)
  await layer('sru', new nn.SRU(6, 6, both), 4, 6)
  await layer('sru narrow', new nn.SRU(3, 6, { numLayers: 2, bias: false }), 2, 6, false)
  await layer('mingru', new nn.MinGRU(3, 6, both), 4, 6)
  await layer('minlstm', new nn.MinLSTM(3, 6, both), 4, 6)

  const embedding = new nn.Embedding(7, 5)
  const linear = new nn.Linear(5, 7)
  const own: [string, Tensor][] = [
    ['weight', embedding.weight],
    ['linear', linear.weight],
    ['bias', linear.bias as Tensor],
  ]
  keep('classifier', own)
  const indices = tensor(Int32Array.of(0, 6, 6, 2, 3, 1))
  const target = tensor(Int32Array.of(5, 3, 0, 6, 2, 3))
  inputs.set('classifier.indices', indices)
  inputs.set('classifier.target', target)
  for (let i = 0; i < 2; i++) {
    const logits = linear.forward(embedding.forward(indices))
    const options = { ignoreIndex: 3, labelSmoothing: 0.1 }
    const loss = new nn.CrossEntropyLoss(options).forward(logits, target)
    loss.backward()
    wanted.set('classifier.loss', loss)
    const leaf = logits.detach()
    leaf.requiresGrad = true
    new nn.CrossEntropyLoss(options).forward(leaf, target).backward()
    wanted.set('classifier.dlogits', leaf.grad as Tensor)
  }
  await train('classifier', own)

  await io.safetensors.save(at('in.safetensors'), inputs)
  await library('layers', at('in.safetensors'), at('out.safetensors'))
  const { tensors, metadata } = await io.safetensors.loadWithMetadata(at('out.safetensors'))
  t.deepEqual([...metadata], [['text', '"quoted"\n']])
  t.deepEqual([...tensors.keys()].sort(), [...wanted.keys()].sort())
  for (const [key, value] of wanted) await closeTo(t, tensors.get(key), value, 1e-6, key)
})

native(title('an LSTM of PyTorch, converted, computes what it does in TypeScript'), async (t) => {
  const fused = join(root, 'dist/cli/main.js')
  const weights = at('lstm.safetensors')
  const { stdout } = await exec(process.execPath, [
    ...[fused, 'convert', join(root, 'test/fixtures/torch/lstm.pt'), weights],
  ])
  t.regex(stdout, /16 tensors/)
  const lstm = new nn.LSTM(3, 4, { numLayers: 2, bidirectional: true })
  lstm.loadStateDict(await io.safetensors.load(weights))
  const x = randn([5, 2, 3])
  await io.safetensors.save(at('x.safetensors'), new Map([['x', x]]))
  await library('lstm', weights, at('x.safetensors'), at('y.safetensors'))
  const found = await io.safetensors.load(at('y.safetensors'))
  const [output, [hn, cn]] = lstm.forward(x)
  for (const [name, expected] of Object.entries({ output, hn, cn }))
    await closeTo(t, found.get(name), expected, 1e-6, name)
})

// ---- Models of tasks -------------------------------------------------------------------------------

const learnt = { maxEpochs: 2, progressBar: false, seed: 1, lr: 0.02 }
const wave = (n: number, from = 0): number[] =>
  Array.from({ length: n }, (_, i) => 5 + 2 * Math.sin((i + from) / 2) + ((i + from) % 3))

anywhere(title('a Forecaster predicts what it predicts in TypeScript'), async (t) => {
  const options = { horizon: 3, hiddenSize: 6 }
  const day = 86_400_000
  const time = Array.from({ length: 90 }, (_, i) => Date.UTC(2023, 10, 20) + i * day)
  const gaps = wave(90).map((x, i) => (i % 17 === 5 ? Number.NaN : x))
  const columns = { x: gaps, y: wave(90, 3), seen: wave(90, 1), known: wave(90, 5) }
  const cases = {
    plain: [new models.Forecaster({ ...options, inputSize: 13, seasonLength: 4 }), { x: wave(90) }],
    columns: [
      new models.Forecaster({
        ...options,
        targets: ['x', 'y'],
        histExog: ['seen'],
        futrExog: ['known'],
        inputSize: 20,
        numLayers: 2,
        cell: 'gru',
        scaler: 'robust',
      }),
      columns,
    ],
    drawn: [
      new models.Forecaster({ ...options, missing: 'interpolate', cell: 'sLSTM' }),
      { x: gaps },
    ],
  } as const
  for (const [name, [model, given]] of Object.entries(cases)) {
    const series = new data.Series(
      given as Record<string, number[]>,
      name === 'plain' ? {} : { time },
    )
    await model.fit(series, learnt)
    await model.save(at(name))
    const future = name === 'columns' ? [1, 4, 2] : []
    const said = await model.predict(
      series,
      future.length > 0 ? { futrExog: { known: future } } : {},
    )
    const names = model.state?.spec.targets as string[]
    const order = [...names, ...model.config.histExog, ...model.config.futrExog]
    const rows = Array.from({ length: 90 }, (_, i) =>
      order.map((column) => series.column(column)[i] as number),
    )
    const lines = await library(
      ...['forecast', at(name), rows.join(), future.join()],
      name === 'plain' ? '' : time.join(),
    )
    t.is(lines.pop(), 'fine')
    t.is(lines.length, names.length * 3)
    for (const line of lines) {
      const [target, q, ...numbers] = line.split(' ') as [string, string, ...string[]]
      const values = said.column(target).quantile(Number(q))
      await closeTo(t, numbers.map(Number), [...values], 2e-5, `${name}: ${line}`)
    }
  }
  const wrong = async (message: RegExp, ...args: string[]): Promise<void> => {
    t.regex((await library('forecast', ...args)).join(), message)
  }
  await wrong(
    /^argument: \[Forecaster.predict\] rows: expected at least 13 rows/,
    at('plain'),
    '1,2',
    '',
    '',
  )
  const many = wave(20).join()
  await wrong(
    /row 19, column 'x': expected a finite number, got inf/,
    at('plain'),
    `${many.slice(0, many.lastIndexOf(','))},inf`,
    '',
    '',
  )
  await wrong(
    /column 'x': expected a value among the last 13 rows/,
    at('plain'),
    Array(13).fill('nan').join(),
    '',
    '',
  )
  await wrong(/future: expected 0 numbers, got 1/, at('plain'), many, '1', '')
  await wrong(
    /times: expected 40 times, one of each row, got 0/,
    at('drawn'),
    wave(40).join(),
    '',
    '',
  )
  await wrong(/^error: \[Forecaster.load\] .*there is no such folder/, at('none'), many, '', '')
})

anywhere(title('a SequenceClassifier says what it says in TypeScript'), async (t) => {
  const rows = (n: number, up: number): number[][] =>
    Array.from({ length: n }, (_, i) => [10 + i * up, 100 - i])
  const cells = { concat: 'gru', last: 'sru', max: 'lstm', mean: 'minGRU' } as const
  for (const pooling of ['concat', 'last', 'max', 'mean'] as const) {
    const model = new models.SequenceClassifier({
      hiddenSize: 5,
      pooling,
      cell: cells[pooling],
      bidirectional: pooling !== 'mean',
      numLayers: pooling === 'last' ? 2 : 1,
      maxLength: 6,
    })
    const examples = Array.from({ length: 24 }, (_, i) => ({
      input: rows(3 + (i % 4), i % 2 === 0 ? 1 : -1),
      label: [1, 2, 1, 3][i % 4] as number,
    }))
    await model.fit(examples, learnt)
    await model.save(at('rows'))
    for (const input of [rows(5, 1), rows(9, -1), rows(1, 1)]) {
      const [said] = await model.predict([input])
      const [line, end] = await library('classify', at('rows'), input.join())
      t.is(end, 'fine')
      const [label, ...scores] = (line as string).split(' ')
      t.is(label, String(said?.label))
      await closeTo(t, scores.map(Number), Object.values(said?.scores ?? {}), 1e-5, pooling)
    }
  }
  const mails = Array.from({ length: 20 }, (_, i) => ({
    input: i % 2 === 0 ? 'win a prize now' : 'see you at noon then',
    label: i % 2 === 0 ? 'spam' : 'ham',
  }))
  const model = new models.SequenceClassifier({ hiddenSize: 5, embeddingSize: 4 })
  await model.fit(mails, learnt)
  await model.save(at('texts'))
  const tokens = ['see', 'größe', 'prize']
  const [said] = await model.predict([tokens])
  const [line] = await library('classify', at('texts'), 'tokens', ...tokens)
  const [label, ...scores] = (line as string).split(' ')
  t.is(label, said?.label as string)
  await closeTo(t, scores.map(Number), Object.values(said?.scores ?? {}), 1e-5)
  const wrong = async (message: RegExp, ...args: string[]): Promise<void> => {
    t.regex((await library('classify', ...args)).join(), message)
  }
  await wrong(/^argument: .*tokens, which this model reads, got numbers/, at('texts'), '1,2')
  await wrong(/at least one token, got none/, at('texts'), 'tokens')
  await wrong(/only unknown ones, such as 'x'/, at('texts'), 'tokens', 'x', 'y')
  await wrong(/rows of numbers, which this model reads/, at('rows'), 'tokens', 'x')
  await wrong(/at least one row of 2 numbers, got 3 numbers/, at('rows'), '1,2,3')
  await wrong(/row 1: expected finite numbers, got nan/, at('rows'), '1,2,3,nan')
  await wrong(/^error: \[SequenceClassifier.load\] .*there is no such folder/, at('none'), '1,2')
  const other = await library('forecast', at('rows'), '1', '', '')
  t.regex(other.join(), /^error: \[Forecaster.load\] .*does not describe a Forecaster of version 1/)
})

native(title('Engine::set_precision'), async (t) => {
  manualSeed(11)
  const device = 'cpu'
  const lstm = new nn.LSTM(24, 40, { device })
  const linear = new nn.Linear(40, 30, { device })
  const [x, y] = [randn([5, 16, 24], { device }), randn([80, 40], { device })]
  const inputs = new Map([
    ['x', x],
    ['y', y],
    ...[...lstm.stateDict()].map(([name, value]) => [`lstm.${name}`, value] as const),
    ...[...linear.stateDict()].map(([name, value]) => [`linear.${name}`, value] as const),
  ])
  await io.safetensors.save(at('precision.safetensors'), inputs)
  await library('precision', at('precision.safetensors'), at('rounded.safetensors'))
  const got = await io.safetensors.load(at('rounded.safetensors'), { device })
  const { cpu } = backends
  const threads = getNumThreads()
  setNumThreads(2) // as the program
  try {
    for (const [turn, precision] of [
      ['before', 'ieee'],
      ['bf16', 'bf16'],
      ['after', 'ieee'],
    ] as const) {
      cpu.rnn.fp32Precision = cpu.matmul.fp32Precision = precision
      const output = await lstm.forward(x)[0].data()
      t.deepEqual(await got.get(`${turn}.lstm`)?.data(), output, `${turn}, LSTM`)
      t.deepEqual(await got.get(`${turn}.rnn`)?.data(), output, `${turn}, rnn alone`)
      const product = await linear.forward(y).data()
      t.deepEqual(await got.get(`${turn}.matmul`)?.data(), product, `${turn}, matmul alone`)
    }
  } finally {
    cpu.rnn.fp32Precision = cpu.matmul.fp32Precision = 'ieee'
    setNumThreads(threads)
  }
  for (const part of ['lstm', 'matmul'])
    t.notDeepEqual(await got.get(`bf16.${part}`)?.data(), await got.get(`before.${part}`)?.data())
})

native(title('wrong arguments'), async (t) => {
  const lines = await library('arguments')
  const expected = [
    /^argument: \[Engine\] device: expected 'cpu', 'cuda' or 'cuda:N', got 'gpu'$/,
    /^error: .*(without CUDA|CUDA|cuda:99|driver)/,
    /^argument: \[Tensor\] values: expected 4 for shape \(2, 2\), got 6$/,
    /^argument: \[Tensor.reshape\] shape: expected a shape of 6 elements, got \(4,\)$/,
    /^argument: \[Tensor.rows\] range: .*\(2, 3\), got \[1, 3\)$/,
    /^argument: \[Tensor.item\] tensor: expected one element, got shape \(2, 3\)$/,
    /^argument: \[Tensor.integers\] tensor: expected an int32 tensor, got float32$/,
    /^argument: \[Tensor\] expected a tensor, got none$/,
    /^argument: \[LSTM\] hidden_size: expected at least 1, got 0$/,
    /^argument: \[LSTM\] proj_size: expected at least 0 and below hidden_size, got 4$/,
    /^argument: \[LSTM.forward\] input: expected shape \(T, N, 3\), T at least 1, got \(2, 3\)$/,
    /^argument: \[LSTM.forward\] state.h: expected shape \(1, 1, 4\), got \(2, 3\)$/,
    /^argument: \[GRU.forward\] state.c: expected none, got a tensor$/,
    /^argument: \[LSTM.forward\] input: expected a tensor of this engine, got one of another/,
    /^argument: \[LSTM.backward\] saved: .*empty or used up$/,
    /^argument: \[Linear.forward\] x: expected shape \(2, 4\), got \(2, 3\)$/,
    /^argument: \[CrossEntropyLoss.forward\] target: expected shape \(2,\), got \(1,\)$/,
    /^argument: \[SGD\] parameters: expected at least one, got none$/,
    /^error: \[embedding\] index\[0\]: expected a whole number of at least 0 and below 5, got 9$/,
    /^fine$/,
    /^argument: \[SGD\] nesterov: /,
  ]
  t.is(lines.length, expected.length)
  for (const [i, message] of expected.entries()) t.regex(lines[i] ?? '', message)
})

native(title('memory is shared through DLPack, and given back'), async (t) => {
  const lines = await library('memory')
  t.is(lines.pop(), 'memory is shared')
  const expected = [
    /a DLManagedTensor, got a null pointer/,
    /float32, int32 or bool, got type code 2 of 64 bits and 1 lanes/,
    /float32, int32 or bool, got type code 1 of 32 bits/,
    /memory of the CPU or a CUDA device, got device type 8/,
    /memory of cpu, got that of cuda:0/,
    /at most 8 dimensions, got 9/,
    /a contiguous, row-major tensor, got stride 2 in place of 1 in dimension 1/,
    /a pointer to the values, got none/,
    /values at a multiple of 4 bytes/,
    /sizes of at least 0, got -1/,
  ]
  t.is(lines.length, expected.length)
  for (const [i, message] of expected.entries()) {
    t.true(lines[i]?.startsWith('argument: [Tensor.from_dlpack] tensor: expected '))
    t.regex(lines[i] ?? '', message)
  }
})

native(title('a program’s threads, each with an engine of its own'), async (t) => {
  t.deepEqual(await library('threads'), ['the same numbers'])
})

const onGpu = emulation ? test.serial : test.serial.skip
onGpu('memory of a GPU is shared through DLPack, and given back', async (t) => {
  t.deepEqual(await library('gpu'), [
    'argument: [Tensor.from_dlpack] tensor: expected memory of cpu, got that of cuda:0',
    'memory is shared',
  ])
})

// ---- Somebody else's addon -------------------------------------------------------------------------

native(title('another addon takes a tensor and gives one, without a copy'), async (t) => {
  const addon = at('addon')
  await cp(join(root, 'examples/addon'), addon, { recursive: true })
  await mkdir(join(addon, 'node_modules'))
  for (const name of ['node-addon-api', 'node-api-headers'])
    await symlink(join(root, 'node_modules', name), join(addon, 'node_modules', name))
  await symlink(root, join(addon, 'node_modules/fused-rnn'))
  const program = join(root, 'node_modules/cmake-js/bin/cmake-js')
  await exec(process.execPath, [program, 'rebuild', '--directory', addon]).catch((error) => {
    throw new Error(`${error.stdout}\n${error.stderr}`)
  })
  const { stdout } = await exec(process.execPath, [join(addon, 'demo.mjs')])
  t.regex(stdout, /a GRU of it: \[ 12, 1, 4 \]/)
  t.regex(stdout, /still there: 12 values, 1 array/)

  type Capsule = utils.dlpack.DlpackCapsule
  const waves = createRequire(import.meta.url)(join(addon, 'build/Release/waves.node')) as {
    sine(n: number): Capsule
    rectify(capsule: Capsule): Capsule
    live(): number
  }
  const { fromDlpack, toDlpack } = utils.dlpack
  // Ours, changed by the addon.
  const values = tensor([
    [1, -2],
    [-3, 4],
  ])
  const shared = waves.rectify(await toDlpack(values))
  t.deepEqual([...(await values.data())], [1, 2, 3, 4])
  values[Symbol.dispose]()
  t.deepEqual([...(await fromDlpack(shared).data())], [1, 2, 3, 4], 'outlives the tensor')
  // The addon's, given back when it is not needed any more.
  const wave = fromDlpack(waves.sine(1000))
  await closeTo(
    t,
    wave,
    Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i)),
    1e-6,
  )
  const half = wave.slice(0, 0, 500)
  wave[Symbol.dispose]()
  t.is(waves.live(), 1)
  t.is((await half.data()).length, 500)
  half[Symbol.dispose]()
  await synchronize()
  t.is(waves.live(), 0)
  // Whose turn it is.
  const taken = waves.sine(3)
  const own = fromDlpack(taken)
  throwsWith(t, () => waves.rectify(taken), TypeError, /somebody has emptied this capsule/)
  throwsWith(t, () => fromDlpack(taken), TypeError, /one that somebody has emptied/)
  throwsWith(t, () => waves.rectify({} as Capsule), TypeError, /expected a capsule/)
  own[Symbol.dispose]()
  const integers = await toDlpack(tensor(Int32Array.of(1)))
  throwsWith(t, () => waves.rectify(integers), TypeError, /expected float32 on the CPU/)
  // An error, and not the end of the process.
  const any = (value: unknown): never => value as never
  for (const n of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 28 + 1, 2 ** 62])
    throwsWith(t, () => waves.sine(n), RangeError, /n: expected a whole number between 0 and/)
  for (const n of [undefined, null, '3', {}, Symbol('n'), 3n])
    throwsWith(t, () => waves.sine(any(n)), TypeError, /n: expected a number/)
  for (const capsule of [undefined, null, 5, 'x', [], Symbol('x')])
    throwsWith(t, () => waves.rectify(any(capsule)), TypeError, /expected a capsule/)
  t.deepEqual([...fromDlpack(waves.sine(0)).shape], [0])
})
