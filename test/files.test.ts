/**
 * What lies in a file system and is no usual file, or another program's: links, pipes, devices, damaged
 * and huge files, and where files of two models meet. Programs at work at the same time:
 * test/locks.test.ts.
 */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  CSVLogger,
  data,
  History,
  io,
  JSONLLogger,
  models,
  nn,
  onnx,
  optim,
  TensorBoardLogger,
  Trainer,
  tensor,
} from 'fused-rnn'
import { onCpu, rejectsWith, runScript } from './helpers.js'

// The files are the same on every device; Windows has neither pipes nor such links.
const unix = onCpu && process.platform !== 'win32' ? test : test.skip
const serial = onCpu ? test.serial : test.serial.skip

function folderOf(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'fused-rnn-files-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

const vocabulary = new data.Vocabulary(['a', 'b', 'c', '<unk>'], { unknownToken: '<unk>' })
const other = new data.Vocabulary(['x', 'y', 'z', '<unk>'], { unknownToken: '<unk>' })
const sizes = { embeddingSize: 3, hiddenSize: 4, numLayers: 1 }
const model = (of = vocabulary) => new models.LanguageModel({ vocabulary: of, ...sizes })
const MODEL = ['config.json', 'model.safetensors', 'vocabulary.json']
const tokens = Int32Array.from({ length: 60 }, (_, i) => i % 4)
const batches = () => new data.SequentialBatches(tokens, { batchSize: 2, sequenceLength: 5 })

/** A trainer that has made a step, and what resumes from a checkpoint. */
async function trained() {
  const made = model()
  const trainer = new Trainer({ maxSteps: 1, progressBar: false })
  await trainer.fit(made, batches(), null, { optimizer: new optim.SGD(made.parameters()) })
  return trainer
}
async function resume(ckptPath: string): Promise<number> {
  const made = model()
  const options = { optimizer: new optim.SGD(made.parameters()), ckptPath }
  const trainer = new Trainer({ maxSteps: 2, progressBar: false })
  return (await trainer.fit(made, batches(), null, options)).globalStep
}

// ---- Files of two models ---------------------------------------------------------------------------

test('a vocabulary that is missing or of another model is refused, and so are parts of two', async (t) => {
  const folder = folderOf(t)
  const at = (name: string) => join(folder, name)
  await model().save(at('a'))
  await model(other).save(at('b'))
  const load = () => models.LanguageModel.load(at('a'))
  t.deepEqual((await load()).vocabulary?.tokens, vocabulary.tokens)
  for (const name of ['vocabulary.json', 'config.json', 'model.safetensors']) {
    const own = readFileSync(at(`a/${name}`))
    writeFileSync(at(`a/${name}`), readFileSync(at(`b/${name}`)))
    await rejectsWith(
      t,
      load(),
      Error,
      /does not hold a model: .*(not the one|two different models)/,
    )
    writeFileSync(at(`a/${name}`), own)
  }
  const list = readFileSync(at('a/vocabulary.json'))
  rmSync(at('a/vocabulary.json'))
  await rejectsWith(t, load(), Error, /vocabulary.json is missing$/)
  // Written anew by another program, it is the same vocabulary.
  writeFileSync(at('a/vocabulary.json'), JSON.stringify(JSON.parse(String(list)), null, 4))
  await t.notThrowsAsync(load())
  // Weights of another program, as PyTorch's, have no id; the two texts still have to fit.
  const weights = await io.safetensors.load(at('a/model.safetensors'))
  await io.safetensors.save(at('a/model.safetensors'), weights)
  await t.notThrowsAsync(load())
  writeFileSync(at('a/vocabulary.json'), readFileSync(at('b/vocabulary.json')))
  await rejectsWith(t, load(), Error, /config.json or vocabulary.json is not the one/)
})

test('a model whose writer was killed before all files had their names', async (t) => {
  const path = join(folderOf(t), 'm')
  await model().save(path)
  const { id } = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))
  const texts = ['config.json', 'vocabulary.json'].map((name) => readFileSync(join(path, name)))
  await model(other).save(join(path, 'old'))
  const staging = join(path, '.fused-rnn.0123456789abcdef.tmp')
  const kinds = [
    (name: string) => join(path, `.${name}.${id}.tmp`), // earlier versions
    (name: string) => join(staging, name),
  ]
  for (const placeOf of kinds) {
    mkdirSync(staging, { recursive: true })
    for (const [i, name] of ['config.json', 'vocabulary.json'].entries()) {
      writeFileSync(placeOf(name), texts[i] as Buffer)
      writeFileSync(join(path, name), readFileSync(join(path, 'old', name)))
    }
    const loaded = await models.LanguageModel.load(path)
    t.deepEqual(loaded.vocabulary?.tokens, vocabulary.tokens)
    await model().save(path)
    t.deepEqual(readdirSync(path).sort(), [...MODEL, 'old'].sort())
  }
})

test('a checkpoint has all its own files', async (t) => {
  const folder = folderOf(t)
  const trainer = await trained()
  const [one, two] = [join(folder, 'one'), join(folder, 'two')]
  await trainer.saveCheckpoint(one)
  await (await trained()).saveCheckpoint(two)
  t.is(await resume(one), 2)
  for (const name of ['model.safetensors', 'trainer.safetensors']) {
    const own = readFileSync(join(one, name))
    const bytes = Buffer.from(own)
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
    const other = readFileSync(join(two, name))
    for (const wrong of [bytes, other.fill(1, other.length - 8)]) {
      writeFileSync(join(one, name), wrong)
      await rejectsWith(
        t,
        resume(one),
        Error,
        new RegExp(`cannot go on from '.*one': its ${name} is missing, damaged or of another`),
      )
    }
    writeFileSync(join(one, name), own)
  }
  rmSync(join(one, 'vocabulary.json'))
  await rejectsWith(t, resume(one), Error, /its vocabulary.json is missing, damaged or of another/)
  // As earlier versions wrote it.
  const head = JSON.parse(readFileSync(join(two, 'trainer.json'), 'utf8'))
  delete head.files
  delete head.id
  writeFileSync(join(two, 'trainer.json'), JSON.stringify(head))
  t.is(await resume(two), 2)
  await trainer.saveCheckpoint(two)
  t.is(await resume(two), 2)
})

test('names in a checkpoint that lead out of its folder', async (t) => {
  const folder = folderOf(t)
  const trainer = await trained()
  const path = join(folder, 'c')
  await trainer.saveCheckpoint(path)
  const precious = join(folder, 'precious')
  writeFileSync(precious, 'x')
  const head = JSON.parse(readFileSync(join(path, 'trainer.json'), 'utf8'))
  head.files['../precious'] = '0'
  writeFileSync(join(path, 'trainer.json'), JSON.stringify(head))
  await rejectsWith(t, resume(path), Error, /trainer.json: 'files' is not what it should be/)
  await trainer.saveCheckpoint(path)
  t.true(existsSync(precious))
})

// ---- Other people's files --------------------------------------------------------------------------

test('what is next to a checkpoint, and in it, stays', async (t) => {
  const folder = folderOf(t)
  const trainer = await trained()
  const best = join(folder, 'best')
  for (const name of ['best.previous', 'best.tmp', 'best.old']) {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'notes.txt'), name)
  }
  for (let i = 0; i < 2; i++) {
    await trainer.saveCheckpoint(best)
    writeFileSync(join(best, 'notes.txt'), 'mine')
  }
  await trainer.saveCheckpoint(best)
  t.deepEqual(readdirSync(folder).sort(), ['best', 'best.old', 'best.previous', 'best.tmp'])
  t.is(readFileSync(join(best, 'notes.txt'), 'utf8'), 'mine')
  t.is(readFileSync(join(folder, 'best.previous/notes.txt'), 'utf8'), 'best.previous')
  // A backup under such a name is nobody's successor.
  await trainer.saveCheckpoint(join(folder, 'nope.previous'))
  const nope = join(folder, 'nope')
  await rejectsWith(t, models.LanguageModel.load(nope), Error, /there is no such folder/)
  await rejectsWith(t, resume(nope), Error, /which has no trainer.json/)
})

test('a folder with files of the same names that are not ours is refused', async (t) => {
  const folder = folderOf(t)
  const trainer = await trained()
  for (const name of ['config.json', 'vocabulary.json', 'model.safetensors']) {
    const path = join(folder, name.replace('.', '-'))
    mkdirSync(path)
    writeFileSync(join(path, name), '{"mine":1}')
    await rejectsWith(
      t,
      model().save(path),
      Error,
      new RegExp(`its ${name} is not a model's of fused`),
    )
    await rejectsWith(t, trainer.saveCheckpoint(path), Error, /something of that name/)
    t.deepEqual(readdirSync(path), [name])
    t.is(readFileSync(join(path, name), 'utf8'), '{"mine":1}')
  }
  const mine = join(folder, 'mine')
  mkdirSync(mine)
  writeFileSync(join(mine, 'trainer.json'), '{"mine":1}')
  await rejectsWith(t, trainer.saveCheckpoint(mine), Error, /no checkpoint of fused-rnn/)
  await trainer.saveCheckpoint(join(folder, 'c'))
  await rejectsWith(t, model().save(join(folder, 'c')), Error, /it is a checkpoint/)
})

unix('a link to a folder stays one, and its target gets the files', async (t) => {
  const folder = folderOf(t)
  const trainer = await trained()
  for (const there of [true, false]) {
    const [link, target] = [join(folder, `link${there}`), join(folder, `target${there}`)]
    if (there) mkdirSync(target)
    symlinkSync(`target${there}`, link)
    for (let i = 0; i < 2; i++) await trainer.saveCheckpoint(link)
    t.true(lstatSync(link).isSymbolicLink())
    t.true(existsSync(join(target, 'trainer.json')))
    t.is(await resume(link), 2)
  }
  t.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('.')),
    [],
  )
})

// ---- Pipes and devices -----------------------------------------------------------------------------

const mkfifo = (path: string): void => {
  rmSync(path, { force: true })
  if (spawnSync('mkfifo', [path]).status !== 0) throw new Error('no mkfifo')
}

unix(
  'a pipe, a device, a folder or a socket in place of any file is an error at once',
  async (t) => {
    t.timeout(120_000)
    const folder = folderOf(t)
    const trainer = await trained()
    const at = (name: string) => join(folder, name)
    await model().save(at('m'))
    await trainer.saveCheckpoint(at('c'))
    const changes: [string, (path: string) => void][] = [
      ['a named pipe', mkfifo],
      ['a device', (path) => symlinkSync('/dev/zero', path)],
      ['a folder', (path) => mkdirSync(path)],
    ]
    for (const [kind, put] of changes) {
      for (const name of MODEL) {
        const own = readFileSync(at(`m/${name}`))
        rmSync(at(`m/${name}`))
        put(at(`m/${name}`))
        const what = new RegExp(`${name}: it is ${kind}, not a regular file`)
        await rejectsWith(t, models.LanguageModel.load(at('m')), Error, what)
        if (name === 'model.safetensors')
          await rejectsWith(t, io.safetensors.load(at(`m/${name}`)), Error, /not a regular file/)
        else await rejectsWith(t, data.loadText(at(`m/${name}`)), Error, /not a regular file/)
        await rejectsWith(t, model().save(at('m')), Error, /is not replaced|not a model's/)
        rmSync(at(`m/${name}`), { recursive: true })
        writeFileSync(at(`m/${name}`), own)
      }
      for (const name of readdirSync(at('c'))) {
        const own = readFileSync(at(`c/${name}`))
        rmSync(at(`c/${name}`))
        put(at(`c/${name}`))
        await rejectsWith(t, resume(at('c')), Error, new RegExp(`${name}.*(regular file|damaged)`))
        rmSync(at(`c/${name}`), { recursive: true })
        writeFileSync(at(`c/${name}`), own)
      }
    }
    t.is(await resume(at('c')), 2)
  },
)

unix('four pipes do not keep a program from its other files, nor from its end', async (t) => {
  const folder = folderOf(t)
  const pipe = join(folder, 'pipe')
  mkfifo(pipe)
  const { code, stderr } = await runScript(
    `
    import { readFile } from 'node:fs/promises'
    import { data, History, io, JSONLLogger, onnx, nn, tensor } from 'fused-rnn'
    const pipe = ${JSON.stringify(pipe)}
    const tries = [
      io.safetensors.load(pipe), data.loadText(pipe), new History().writeCSV(pipe),
      io.safetensors.save(pipe, new Map([['a', tensor([1])]])), onnx.export(new nn.Linear(1, 1), pipe),
    ]
    for (const { status, reason } of await Promise.allSettled(tries)) {
      if (status !== 'rejected') throw new Error('not refused')
      if (!/pipe/.test(reason.message)) throw reason
    }
    await readFile(process.argv[1] ?? '/dev/null').catch(() => {})
    process.exit(7)`,
    {},
  )
  t.is(code, 7, stderr)
})

// ---- Writing a whole file --------------------------------------------------------------------------

const history = new History()
history.add({ kind: 'step', epoch: 0, step: 1, metrics: { loss: 1 } })
const layer = new nn.Linear(2, 2)
const WRITERS: Record<string, (path: string) => Promise<void>> = {
  'safetensors.save': (path) => io.safetensors.save(path, new Map([['a', tensor([1])]])),
  'onnx.export': (path) => onnx.export(layer, path),
  writeCSV: (path) => history.writeCSV(path),
  writeSVG: (path) => history.writeSVG(path),
}

for (const [name, write] of Object.entries(WRITERS)) {
  unix(`${name}: links, permissions, pipes, folders`, async (t) => {
    const folder = folderOf(t)
    const at = (file: string) => join(folder, file)
    await write(at('plain'))
    const expected = readFileSync(at('plain'))
    t.deepEqual(statSync(at('plain')).mode & 0o777, 0o666 & ~process.umask())
    writeFileSync(at('target'), 'old')
    chmodSync(at('target'), 0o640)
    mkdirSync(at('sub'))
    symlinkSync('../target', at('sub/link'))
    symlinkSync(at('sub/link'), at('link'))
    symlinkSync('later', at('dangling'))
    symlinkSync('loop', at('loop'))
    await write(at('link'))
    await write(at('dangling'))
    t.is(readlinkSync(at('link')), at('sub/link'))
    t.is(readlinkSync(at('sub/link')), '../target')
    t.is(readlinkSync(at('dangling')), 'later')
    t.is(statSync(at('target')).mode & 0o777, 0o640)
    for (const file of ['target', 'later']) t.true(readFileSync(at(file)).equals(expected), file)
    for (const file of ['loop', 'sub', 'sub/', 'none/x'])
      await t.throwsAsync(write(at(file)), undefined, file)
    await t.notThrowsAsync(write('/dev/null'))
    t.true(lstatSync('/dev/null').isCharacterDevice())
    mkfifo(at('pipe'))
    await rejectsWith(t, write(at('pipe')), Error, /a named pipe or a socket that nobody reads/)
    // With a reader, as > does.
    const reader = openSync(at('pipe'), 'r+')
    await write(at('pipe'))
    const got = Buffer.alloc(expected.length)
    const { readSync } = await import('node:fs')
    t.is(readSync(reader, got), expected.length)
    closeSync(reader)
    t.true(got.equals(expected))
    t.true(lstatSync(at('pipe')).isFIFO())
    t.deepEqual(
      readdirSync(folder).filter((file) => file.startsWith('.')),
      [],
    )
  })
}

unix('what a process has open is written to, not replaced', async (t) => {
  const folder = folderOf(t)
  const out = join(folder, 'out')
  const script = `
    import { History } from 'fused-rnn'
    process.stdout.write('first\\n')
    await new History().writeCSV('/dev/stdout')
    process.stdout.write('last\\n')`
  const file = join(folder, 'script.mjs')
  writeFileSync(
    file,
    script.replaceAll("'fused-rnn'", JSON.stringify(import.meta.resolve('fused-rnn'))),
  )
  for (const command of [`"$0" "$1" > "$2"`, `"$0" "$1" | cat > "$2"`]) {
    const { status, stderr } = spawnSync('sh', ['-c', command, process.execPath, file, out])
    t.is(status, 0, String(stderr))
    t.is(readFileSync(out, 'utf8'), 'first\nkind,epoch,step\nlast\n')
  }
})

unix('loggers add to what is there, and to nothing that is no file', async (t) => {
  const folder = folderOf(t)
  for (const Logger of [CSVLogger, JSONLLogger]) {
    const name = Logger === CSVLogger ? 'metrics.csv' : 'metrics.jsonl'
    const run = join(folder, Logger.name, 'version_0')
    mkdirSync(run, { recursive: true })
    mkfifo(join(run, name))
    const logger = new Logger(join(folder, Logger.name), { version: 0 })
    logger.logMetrics({ loss: 1 }, 1)
    await rejectsWith(t, logger.finalize(), Error, /cannot write into .*pipe/)
    t.true(lstatSync(join(run, name)).isFIFO())
  }
  const board = new TensorBoardLogger(join(folder, 'tb'))
  board.logMetrics({ loss: 1 }, 1)
  await t.notThrowsAsync(board.finalize())
})

// ---- Damaged files ---------------------------------------------------------------------------------

unix('damaged JSON is one line, and shows nothing of a file that was linked there', async (t) => {
  const folder = folderOf(t)
  const secret = join(folder, 'secret')
  const trainer = await trained()
  for (const text of [
    'swordfish',
    '{"swordfish"',
    '{"a": swordfish}',
    '"swordfish',
    '[1, swordfish',
  ]) {
    writeFileSync(secret, text)
    for (const name of ['config.json', 'vocabulary.json', 'trainer.json', 'model.safetensors']) {
      const path = join(folder, 'm')
      await trainer.saveCheckpoint(path)
      rmSync(join(path, name))
      symlinkSync(secret, join(path, name))
      const load = name === 'trainer.json' ? resume(path) : models.LanguageModel.load(path)
      const error = await t.throwsAsync(load)
      for (let e: unknown = error; e instanceof Error; e = e.cause)
        t.notRegex(`${e.message} ${e.stack}`, /swordfish/, name)
      t.regex(error?.message ?? '', new RegExp(`^[^\\n]*${name.replace('.', '\\.')}[^\\n]*$`))
      rmSync(path, { recursive: true })
    }
  }
})

/** A file of tensors with this header, as long as it says. */
function sparse(path: string, header: object, dataBytes: number): void {
  const text = Buffer.from(JSON.stringify(header))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(text.length))
  const file = openSync(path, 'w')
  writeSync(file, size)
  writeSync(file, text)
  closeSync(file)
  truncateSync(path, 8 + text.length + dataBytes)
}

serial('what is larger than the memory is not read', async (t) => {
  const folder = folderOf(t)
  const at = (name: string) => join(folder, name)
  const huge = 2 ** 32
  sparse(at('one'), { a: { dtype: 'F32', shape: [huge / 4], data_offsets: [0, huge] } }, huge)
  const part = huge / 64
  const many = Array.from({ length: 64 }, (_, i) => [
    `t${i}`,
    { dtype: 'F32', shape: [part / 4], data_offsets: [i * part, (i + 1) * part] },
  ])
  sparse(at('many'), Object.fromEntries(many), huge)
  writeFileSync(at('header'), Buffer.from('00e1f50500000000', 'hex'))
  truncateSync(at('header'), 100_000_008)
  await model().save(at('m'))
  truncateSync(at('m/vocabulary.json'), huge)
  await model().save(at('n'))
  truncateSync(at('n/config.json'), huge)
  await model().save(at('w'))
  rmSync(at('w/model.safetensors'))
  sparse(at('w/model.safetensors'), Object.fromEntries(many), huge)
  writeFileSync(at('text'), '')
  truncateSync(at('text'), 400_000_000)
  const { code, stderr } = await runScript(
    `
    import { data, io, models } from 'fused-rnn'
    const at = (name) => ${JSON.stringify(folder)} + '/' + name
    const tries = [
      ...['one', 'many', 'header'].map((name) => () => io.safetensors.load(at(name))),
      ...['m', 'n', 'w'].map((name) => () => models.LanguageModel.load(at(name))),
      () => data.loadText(at('text')),
    ]
    const before = process.memoryUsage.rss()
    const start = performance.now()
    for (const attempt of tries) {
      const error = await attempt().then(() => null, (error) => error)
      if (!/out of memory|more than|begin with/.test(error?.message)) throw new Error(String(error))
    }
    if (process.memoryUsage.rss() - before > 100e6) throw new Error('it has been read')
    if (performance.now() - start > 20000) throw new Error('it took long')`,
    { env: { FUSED_RNN_MEMORY_LIMIT: String(200 * 2 ** 20) } },
  )
  t.is(code, 0, stderr)
})

/**
 * The most that this process worked between two turns of the event loop while something went on, in
 * milliseconds. Not the time, which depends on what else the machine does.
 */
async function mostAtOnce(work: () => Promise<unknown>): Promise<number> {
  let most = 0
  let before = process.cpuUsage()
  let done = false
  const look = (): void => {
    const { user, system } = process.cpuUsage(before)
    most = Math.max(most, (user + system) / 1000)
    before = process.cpuUsage()
    if (!done) setImmediate(look)
  }
  setImmediate(look)
  await work()
  done = true
  look()
  return most
}

serial('loading leaves the event loop free', async (t) => {
  t.timeout(300_000)
  const folder = folderOf(t)
  const at = (name: string) => join(folder, name)
  const big = new models.LanguageModel({ vocabSize: 8000, embeddingSize: 512, hiddenSize: 512 })
  await big.save(at('m'))
  t.true(statSync(at('m/model.safetensors')).size > 40e6)
  const width = { F32: 4, F16: 2, I64: 8 }
  for (const [dtype, bytes] of Object.entries(width)) {
    const entry = { dtype, shape: [64e6 / bytes], data_offsets: [0, 64e6] }
    sparse(at(dtype), { a: entry }, 64e6)
  }
  const empty = { dtype: 'F32', shape: [0], data_offsets: [0, 0] }
  const names = Array.from({ length: 400_000 }, (_, i) => [`layer.${i}.weight`, empty])
  sparse(at('empty'), Object.fromEntries(names.slice(0, 50_000)), 0)
  sparse(at('too many'), Object.fromEntries(names), 0)
  writeFileSync(at('text'), 'a line of a text, no more\n'.repeat(64e6 / 26))
  const load = async (path: string): Promise<void> => {
    for (const tensor of (await io.safetensors.load(path)).values()) tensor[Symbol.dispose]()
  }
  const works: [string, () => Promise<unknown>][] = [
    ['F32', () => load(at('F32'))],
    ['F16', () => load(at('F16'))],
    ['I64', () => load(at('I64'))],
    ['empty', () => load(at('empty'))],
    ['too many', () => rejectsWith(t, load(at('too many')), Error, /more than 65536 tensors/)],
    ['a model', () => models.LanguageModel.load(at('m'))],
    ['a text', () => data.loadText(at('text'))],
  ]
  for (const [name, work] of works) {
    // The best of three: garbage of others is collected, too.
    let least = Infinity
    for (let i = 0; i < 3; i++) least = Math.min(least, await mostAtOnce(work))
    t.log(`${name}: at most ${least.toFixed(0)} ms of work at once`)
    t.true(least < 400, `${name}: ${least} ms of work at once`)
  }
})

test('an AbortSignal ends loading', async (t) => {
  const folder = folderOf(t)
  const path = join(folder, 'file')
  await model().save(join(folder, 'm'))
  sparse(path, { a: { dtype: 'F32', shape: [16e6], data_offsets: [0, 64e6] } }, 64e6)
  writeFileSync(join(folder, 'text'), 'a'.repeat(20e6))
  const reason = new Error('enough')
  const loads: ((signal: AbortSignal) => Promise<unknown>)[] = [
    (signal) => io.safetensors.load(path, { signal }),
    (signal) => models.LanguageModel.load(join(folder, 'm'), { signal }),
    (signal) => data.loadText(join(folder, 'text'), { signal }),
  ]
  for (const load of loads) {
    t.is(await t.throwsAsync(load(AbortSignal.abort(reason))), reason)
    await rejectsWith(t, load(5 as never), TypeError, /signal: expected an AbortSignal, got 5/)
  }
  for (const load of [loads[0], loads[2]] as const) {
    const controller = new AbortController()
    const loading = (load as (typeof loads)[0])(controller.signal)
    setImmediate(() => controller.abort(reason))
    t.is(await t.throwsAsync(loading), reason)
  }
})
