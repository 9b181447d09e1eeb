/** The loggers that write files: CSV, JSON lines, TensorBoard's events. */
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  CSVLogger,
  JSONLLogger,
  nn,
  optim,
  type Tensor,
  TensorBoardLogger,
  Trainer,
  tensor,
} from 'fused-rnn'
import { PbfReader } from 'pbf'
import { rejectsWith, throwsWith } from './helpers.js'

async function temporary(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-loggers-'))
  t.teardown(() => rm(path, { recursive: true }))
  return path
}

/** y = w x, trained to w = 3. */
class Scale extends nn.Module {
  readonly linear = new nn.Linear(1, 1, { bias: false })

  override forward(x: Tensor): Tensor {
    return this.linear.forward(x)
  }

  trainingStep(x: Tensor): Tensor {
    return new nn.MSELoss().forward(this.forward(x), x.mul(3).detach())
  }

  validationStep(x: Tensor): Tensor {
    return this.trainingStep(x)
  }

  configureOptimizers(): optim.SGD {
    return new optim.SGD(this.parameters(), { lr: 0.1 })
  }
}

const batches = (count: number) => Array.from({ length: count }, (_, i) => tensor([[i + 1], [-1]]))

type Row = Record<string, number>

async function readCSV(path: string): Promise<Row[]> {
  const text = await readFile(path, 'utf8')
  const [header = '', ...lines] = text.slice(0, -1).split('\n')
  return lines.map((line) => {
    const cells = line.split(',')
    const entries = header.split(',').map((name, i) => [name, cells[i] ?? ''] as const)
    return Object.fromEntries(entries.filter(([, cell]) => cell !== '').map(([k, v]) => [k, +v]))
  })
}

async function readJSONL(path: string): Promise<Row[]> {
  const text = await readFile(path, 'utf8')
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** CRC-32C, a bit at a time. */
function crc32c(data: Uint8Array): number {
  let crc = -1
  for (const byte of data) {
    for (let bit = 0; bit < 8; bit++) {
      const odd = ((crc ^ (byte >> bit)) & 1) === 1
      crc >>>= 1
      if (odd) crc ^= 0x82f63b78
    }
  }
  return ~crc >>> 0
}

function masked(crc: number): number {
  const turned = Number(((BigInt(crc) << 17n) | (BigInt(crc) >> 15n)) & 0xffffffffn)
  return (turned + 0xa282ead8) % 2 ** 32
}

interface Event {
  time: number
  step: number
  version?: string
  values: Row
}

/** The events of a file, every checksum checked. */
function readEvents(t: ExecutionContext, file: Buffer): Event[] {
  const events: Event[] = []
  let at = 0
  while (at < file.length) {
    const length = Number(file.readBigUInt64LE(at))
    t.is(file.readUInt32LE(at + 8), masked(crc32c(file.subarray(at, at + 8))))
    const data = file.subarray(at + 12, at + 12 + length)
    t.is(file.readUInt32LE(at + 12 + length), masked(crc32c(data)))
    at += length + 16
    const event: Event = { time: 0, step: 0, values: {} }
    new PbfReader(data).readFields((field, _, pbf) => {
      if (field === 1) event.time = pbf.readDouble()
      else if (field === 2) event.step = pbf.readVarint()
      else if (field === 3) event.version = pbf.readString()
      else if (field === 5) pbf.readMessage(readSummary, event.values)
      else t.fail(`field ${field}`)
    }, null)
    events.push(event)
  }
  t.is(at, file.length)
  return events
}

function readSummary(field: number, values: Row, pbf: PbfReader): void {
  if (field !== 1) throw new Error(`field ${field} of a summary`)
  const value = pbf.readMessage((inner, found: { tag?: string; number?: number }) => {
    if (inner === 1) found.tag = pbf.readString()
    else if (inner === 2) found.number = pbf.readFloat()
  }, {})
  values[value.tag as string] = value.number as number
}

test('CRC-32C as it is known', (t) => {
  t.is(crc32c(Buffer.from('123456789')), 0xe3069283)
})

test.serial(
  'a training with all three: the records of the history, under names of their own',
  async (t) => {
    const folder = await temporary(t)
    const csv = new CSVLogger(folder, { name: 'scale', version: 'run' })
    const jsonl = new JSONLLogger(folder, { name: 'scale', version: 'run' })
    const events = new TensorBoardLogger(folder, { name: 'scale', version: 'run' })
    t.is(csv.logDir, null)
    const options = { maxEpochs: 2, logEveryNSteps: 2, progressBar: false }
    const trainer = new Trainer({ ...options, logger: [csv, jsonl, events] })
    const began = Date.now() / 1000
    const { history } = await trainer.fit(new Scale(), batches(5), batches(1))
    const run = join(folder, 'scale', 'run')
    t.deepEqual([csv.logDir, jsonl.logDir, events.logDir], [run, run, run])

    const expected = history.records.map(({ kind, epoch, step, metrics }) => {
      const { trainLoss, valLoss, ...rest } = metrics
      if (kind === 'epoch') return { step, epoch, trainLossEpoch: trainLoss, ...rest }
      return { step, epoch, ...metrics }
    })
    t.is(expected.length, 5 + 2 + 2)
    t.deepEqual(await readJSONL(join(run, 'metrics.jsonl')), expected as Row[])
    t.deepEqual(await readCSV(join(run, 'metrics.csv')), expected as Row[])
    const header = (await readFile(join(run, 'metrics.csv'), 'utf8')).split('\n')[0]
    t.is(header, 'step,epoch,trainLoss,lr,tokensPerSecond,valLoss,trainLossEpoch')

    const files = await readdir(run)
    const file = files.find((name) => name.startsWith('events.out.tfevents.')) as string
    t.deepEqual(files.sort(), [file, 'metrics.csv', 'metrics.jsonl'].sort())
    const [first, ...others] = readEvents(t, await readFile(join(run, file)))
    t.is(first?.version, 'brain.Event:2')
    t.deepEqual(
      others.map(({ step, values }) => ({ step, ...values })),
      expected.map((row) =>
        Object.fromEntries(
          Object.entries(row).map(([k, v]) => [k, k === 'step' ? v : Math.fround(v as number)]),
        ),
      ) as never,
    )
    t.true(others.every(({ time }) => time >= began - 1 && time <= Date.now() / 1000 + 1))
  },
)

test.serial('runs are numbered; a version that is named is continued', async (t) => {
  const folder = await temporary(t)
  await mkdir(join(folder, 'version_7'))
  await writeFile(join(folder, 'version_x'), '')
  const loggers = [new CSVLogger(folder), new CSVLogger(folder), new JSONLLogger(folder)]
  for (const logger of loggers) logger.logMetrics({ loss: 1 }, 1)
  for (const logger of loggers) await logger.finalize()
  const numbers = loggers.map(({ logDir }) => basename(logDir as string)).sort()
  t.deepEqual(numbers, ['version_10', 'version_8', 'version_9'])

  const version = 3
  for (const step of [1, 2]) {
    const again = [CSVLogger, JSONLLogger, TensorBoardLogger].map((L) => new L(folder, { version }))
    for (const logger of again) logger.logMetrics(step === 1 ? { a: 1 } : { b: 2, a: NaN }, step)
    for (const logger of again) await logger.finalize()
  }
  const run = join(folder, 'version_3')
  t.is(await readFile(join(run, 'metrics.csv'), 'utf8'), 'step,a,b\n1,1,\n2,NaN,2\n')
  t.is(
    await readFile(join(run, 'metrics.jsonl'), 'utf8'),
    '{"step":1,"a":1}\n{"step":2,"b":2,"a":null}\n',
  )
  t.is((await readdir(run)).filter((name) => name.includes('tfevents')).length, 2)
})

test.serial('large steps and many records, in order', async (t) => {
  const folder = await temporary(t)
  const logger = new TensorBoardLogger(folder)
  const steps = [0, 127, 128, 2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER]
  for (const step of steps) logger.logMetrics({ loss: step }, step)
  for (let i = 0; i < 300; i++) logger.logMetrics({ loss: i, 'with / and ü': -i }, i)
  await logger.finalize()
  const [file = ''] = await readdir(join(folder, 'version_0'))
  const events = readEvents(t, await readFile(join(folder, 'version_0', file))).slice(1)
  t.deepEqual(
    events.slice(0, 6).map(({ step }) => step),
    steps,
  )
  events.slice(6).forEach(({ step, values }, i) => {
    t.is(step, i)
    t.deepEqual(values, { loss: i, 'with / and ü': -i })
  })
  t.is(events.length, 306)
})

test.serial('what had been logged is in the files when training fails', async (t) => {
  const folder = await temporary(t)
  const logger = new CSVLogger(folder, { version: 0 })
  const states: string[] = []
  const other = {
    logMetrics: () => {},
    finalize: (status: string) => {
      states.push(status)
      throw new Error('must not hide the first')
    },
  }
  const options = { maxEpochs: 1, logEveryNSteps: 1, progressBar: false, logger: [other, logger] }
  const data = [...batches(3), tensor([[NaN]])]
  await rejectsWith(t, new Trainer(options).fit(new Scale(), data), RangeError, /at step 4/)
  t.deepEqual(states, ['failed'])
  t.is((await readCSV(join(folder, 'version_0', 'metrics.csv'))).length, 3)

  const controller = new AbortController()
  const callbacks = [{ onTrainBatchEnd: () => controller.abort() }]
  const { signal } = controller
  const end = { logMetrics: () => {}, finalize: (status: string) => void states.push(status) }
  const stopping = { maxEpochs: 2, progressBar: false, callbacks, signal, logger: end }
  t.is((await new Trainer(stopping).fit(new Scale(), batches(3))).stopped, 'aborted')
  await new Trainer({ maxEpochs: 1, progressBar: false, logger: end }).fit(new Scale(), batches(1))
  t.deepEqual(states, ['failed', 'aborted', 'success'])
})

test.serial('errors: options, names, a place where nothing can be written', async (t) => {
  for (const L of [CSVLogger, JSONLLogger, TensorBoardLogger]) {
    const { name } = L
    const make =
      (...args: unknown[]) =>
      () =>
        new L(...(args as [string]))
    throwsWith(t, make(), TypeError, new RegExp(`^\\[${name}\\] saveDir: expected the path of a f`))
    throwsWith(t, make(''), TypeError, /saveDir/)
    throwsWith(t, make('logs', { nmae: 'x' }), TypeError, /options: expected one of name, version/)
    throwsWith(t, make('logs', { name: 1 }), TypeError, /name: expected the name of a folder/)
    throwsWith(t, make('logs', { version: -1 }), RangeError, /version/)
    throwsWith(t, make('logs', { version: '' }), TypeError, /version/)
  }
  throwsWith(
    t,
    () => new CSVLogger('logs').logMetrics({ 'a,b': 1 }, 1),
    RangeError,
    /^\[CSVLogger\] metrics: expected names without commas, quotes and line breaks, got "a,b"$/,
  )
  await t.throwsAsync(access('logs'))
  const folder = await temporary(t)
  await writeFile(join(folder, 'taken'), '')
  const logger = new JSONLLogger(join(folder, 'taken'))
  const options = { maxEpochs: 1, logEveryNSteps: 1, progressBar: false, logger }
  const expected = /^\[JSONLLogger\] cannot write into '.*taken': /
  await rejectsWith(t, new Trainer(options).fit(new Scale(), batches(3)), Error, expected)
  throwsWith(t, () => logger.logMetrics({}, 1), Error, expected)
  await rejectsWith(t, logger.finalize(), Error, expected)
})
