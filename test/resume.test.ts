/** Going on from a checkpoint: callbacks get their own state back, logs are cut back to the step. */
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  type Callback,
  CSVLogger,
  EarlyStopping,
  type FitOptions,
  JSONLLogger,
  type Logger,
  ModelCheckpoint,
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
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-resume-'))
  t.teardown(() => rm(path, { recursive: true }))
  return path
}

/** Loss and score of each validation are given. */
class Scripted extends nn.Module {
  readonly linear = new nn.Linear(1, 1)
  constructor(
    readonly losses: readonly number[],
    readonly scores: readonly number[],
  ) {
    super()
  }
  override forward(x: Tensor): Tensor {
    return this.linear.forward(x)
  }
  trainingStep(x: Tensor): Tensor {
    return this.forward(x).sum()
  }
  validationStep(_: Tensor, { epoch }: { epoch: number }) {
    return {
      loss: tensor([this.losses[epoch] as number]),
      metrics: { score: tensor([this.scores[epoch] as number]) },
    }
  }
  configureOptimizers(): optim.SGD {
    return new optim.SGD(this.parameters(), { lr: 0.001 })
  }
}

const batches = (count: number) => Array.from({ length: count }, (_, i) => tensor([[i + 1]]))

/** Epochs of two steps. */
function train(
  callbacks: Callback[],
  maxEpochs: number,
  {
    losses = [9, 8, 7, 6, 5, 4, 3, 2],
    scores = [1, 8, 2, 3, 4, 5, 6, 7],
    logger,
    ...options
  }: { losses?: number[]; scores?: number[]; logger?: Logger | Logger[] } & FitOptions = {},
) {
  const trainer = new Trainer({
    maxEpochs,
    callbacks,
    progressBar: false,
    logEveryNSteps: 1,
    ...(logger && { logger }),
  })
  return trainer.fit(new Scripted(losses, scores), batches(2), batches(1), options)
}

test.serial('two ModelCheckpoints and two EarlyStoppings each get their own state', async (t) => {
  const folder = await temporary(t)
  const make = () => ({
    loss: new ModelCheckpoint({ dirpath: join(folder, 'loss'), monitor: 'valLoss' }),
    score: new ModelCheckpoint({
      dirpath: join(folder, 'score'),
      monitor: 'valScore',
      mode: 'max',
      saveLast: false,
    }),
    falling: new EarlyStopping({ patience: 3 }),
    rising: new EarlyStopping({ monitor: 'valScore', mode: 'max', patience: 20 }),
  })
  const first = make()
  await train(Object.values(first), 4)
  const second = make()
  const ckptPath = join(folder, 'loss', 'last')
  const { stopped, epoch } = await train(Object.values(second), 8, { ckptPath })
  t.deepEqual([stopped, epoch], ['maxEpochs', 8])
  t.is(second.loss.bestModelScore, 2)
  t.is(second.score.bestModelScore, 8)
  t.is(second.score.bestModelPath, join(folder, 'score', 'best'))
  t.deepEqual([second.falling.bestScore, second.falling.waitCount], [2, 0])
  t.deepEqual([second.rising.bestScore, second.rising.waitCount], [8, 6])
  const best = JSON.parse(await readFile(join(folder, 'score', 'best', 'trainer.json'), 'utf8'))
  t.is(best.epoch, 1)
})

test.serial('two ModelCheckpoints that would replace each other are refused', async (t) => {
  const folder = await temporary(t)
  const loss = new ModelCheckpoint({ dirpath: join(folder, 'a'), monitor: 'valLoss' })
  const score = { monitor: 'valScore', mode: 'max' } as const
  await symlink(folder, join(folder, 'link'))
  for (const dirpath of ['a', 'a/', 'b/../a', 'link/a'].map((name) => `${folder}/${name}`)) {
    const again = new ModelCheckpoint({ dirpath, saveLast: false, ...score })
    const refused =
      /^\[fit\] callbacks: expected ModelCheckpoints that write into different folders, got '.*best' for callbacks\[0\] \(.*valLoss.*\) and callbacks\[1\] \(.*valScore.*\); give each a dirpath of its own$/
    await rejectsWith(t, train([loss, again], 1), TypeError, refused)
  }
  await rejectsWith(t, train([loss, loss], 1), TypeError, /a dirpath of its own/)
  t.deepEqual(await readdir(folder), ['link'])
  const best = new ModelCheckpoint({ dirpath: join(folder, 'a'), saveLast: false, ...score })
  await train([best, new ModelCheckpoint({ dirpath: join(folder, 'a') })], 1)
  t.deepEqual((await readdir(join(folder, 'a'))).sort(), ['best', 'last'])
})

class Counter implements Callback {
  count = 0
  onTrainEpochEnd(): void {
    this.count++
  }
  stateDict(): object {
    return { count: this.count }
  }
  loadStateDict({ count }: { count: number }): void {
    this.count = count
  }
}

/** A callback that is no class's, with a state of its own. */
function counter(): Callback & { count: number } {
  return {
    count: 0,
    onTrainEpochEnd() {
      this.count += 10
    },
    stateDict() {
      return { count: this.count }
    },
    loadStateDict({ count }: { count: number }) {
      this.count = count
    },
  }
}

test.serial('callbacks without a stateKey, also several of a class, are restored', async (t) => {
  const dirpath = await temporary(t)
  const make = () => [new Counter(), counter(), new Counter(), counter()] as const
  const first = make()
  first[2].count = 100
  first[3].count = 1000
  await train([...first, new ModelCheckpoint({ dirpath })], 2)
  const second = make()
  await train([...second, new ModelCheckpoint({ dirpath })], 3, { ckptPath: join(dirpath, 'last') })
  t.deepEqual(
    second.map(({ count }) => count),
    [3, 30, 103, 1030],
  )
})

test.serial('what does not fit is refused, or said', async (t) => {
  const dirpath = await temporary(t)
  const ckptPath = join(dirpath, 'last')
  const saving = () => new ModelCheckpoint({ dirpath, monitor: 'valLoss' })
  await train([new EarlyStopping(), new Counter(), new Counter(), saving()], 2)
  const refused = (callbacks: Callback[], message: RegExp) =>
    rejectsWith(t, train(callbacks, 3, { ckptPath }), Error, message)

  const early = new EarlyStopping({ monitor: 'valScore', mode: 'max' })
  await refused(
    [early, new Counter(), new Counter(), saving()],
    /^\[fit\] ckptPath: callbacks: expected EarlyStopping\{"monitor":"valLoss","mode":"min"\}, .* got EarlyStopping\{"monitor":"valScore","mode":"max"\}/,
  )
  t.is(early.bestScore, null)
  const one = new Counter()
  await refused([new EarlyStopping(), one, saving()], /callbacks: expected 2 of Counter, .* got 1/)
  t.is(one.count, 0)
  const broken = new Counter()
  broken.loadStateDict = () => {
    throw new RangeError('not mine')
  }
  const fine = new Counter()
  await refused([new EarlyStopping(), fine, broken, saving()], /not mine/)

  // Left out altogether: as in Lightning, with a warning. New ones begin anew.
  const warnings: string[] = []
  const hear = ({ message }: Error): void => void warnings.push(message)
  process.on('warning', hear)
  t.teardown(() => process.off('warning', hear))
  const score = new ModelCheckpoint({ dirpath: join(dirpath, 'new'), monitor: 'valLoss' })
  const { epoch } = await train([score], 3, { ckptPath })
  t.is(epoch, 3)
  await new Promise((resolve) => setImmediate(resolve))
  t.deepEqual(warnings.length, 1)
  t.regex(warnings[0] ?? '', /EarlyStopping\{.*Counter, Counter#2 is left in the checkpoint/)
})

test.serial('a checkpoint of an older version, with one state for a class', async (t) => {
  const dirpath = await temporary(t)
  const ckptPath = join(dirpath, 'last')
  await train([new EarlyStopping(), new ModelCheckpoint({ dirpath, monitor: 'valLoss' })], 2)
  const file = join(ckptPath, 'trainer.json')
  const state = JSON.parse(await readFile(file, 'utf8'))
  state.callbacks = {
    EarlyStopping: { bestScore: 0.5, waitCount: 1 },
    ModelCheckpoint: { bestModelPath: 'somewhere', bestModelScore: 0.25 },
    '1': { count: 5 },
  }
  await writeFile(file, JSON.stringify(state))
  const early = new EarlyStopping({ patience: 30 })
  const best = new ModelCheckpoint({ dirpath: join(dirpath, 'b'), monitor: 'valLoss' })
  const plain = new Counter()
  await train([early, plain, best], 3, { ckptPath })
  t.deepEqual(
    [early.bestScore, early.waitCount, best.bestModelScore, plain.count],
    [0.5, 2, 0.25, 6],
  )

  const two = [new EarlyStopping(), new EarlyStopping({ monitor: 'trainLoss' })]
  await rejectsWith(
    t,
    train(two, 3, { ckptPath }),
    Error,
    /expected one EarlyStopping, got 2; the checkpoint, of an older version,/,
  )
})

test('a callback whose state could not be restored is refused at once', (t) => {
  const make = (callback: object) => () => new Trainer({ callbacks: [callback as Callback] })
  throwsWith(
    t,
    make({ stateDict: () => ({}) }),
    TypeError,
    /^\[Trainer\] callbacks\[0\]\.loadStateDict: expected a function, as there is stateDict/,
  )
  throwsWith(t, make({ loadStateDict: () => {} }), TypeError, /callbacks\[0\]\.stateDict/)
  throwsWith(t, make({ stateKey: 3 }), TypeError, /callbacks\[0\]\.stateKey: expected a name/)
  // The second callback of the key 'a' has this one.
  throwsWith(t, make({ stateKey: 'a#2' }), TypeError, /stateKey: expected a name that does not end/)
})

test.serial('a state that is no plain data is not saved', async (t) => {
  const dirpath = await temporary(t)
  const states = [
    async () => ({}),
    () => null,
    () => ({ when: new Date() }),
    () => ({ seen: new Set([1]) }),
    () => ({ values: new Float32Array(2) }),
    () => ({ later: Promise.resolve(1) }),
  ]
  for (const stateDict of states) {
    const callback = { stateDict: stateDict as () => object, loadStateDict: () => {} }
    const fit = train([callback, new ModelCheckpoint({ dirpath })], 1)
    await rejectsWith(
      t,
      fit,
      Error,
      /\[saveCheckpoint\] .*Object.*: expected (plain data|an object)/,
    )
  }
})

// ---- Logs -----------------------------------------------------------------------------------------

/** Steps and kinds of a run's files, as they are read. */
async function logged(folder: string): Promise<Record<'csv' | 'jsonl' | 'events', string[]>> {
  const csv = (await readFile(join(folder, 'metrics.csv'), 'utf8')).trimEnd().split('\n')
  const header = csv.shift()?.split(',') ?? []
  const rows = csv.map((line) => line.split(','))
  const kind = (has: (name: string) => boolean): string =>
    has('valLoss') ? 'validation' : has('trainLossEpoch') ? 'epoch' : 'step'
  const jsonl = (await readFile(join(folder, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
  const records = jsonl.map((line) => JSON.parse(line))
  return {
    csv: rows.map((row) => `${kind((name) => row[header.indexOf(name)] !== '')} ${row[0]}`),
    jsonl: records.map((record) => `${kind((name) => name in record)} ${record.step}`),
    events: (await events(folder)).map(({ step, names }) => `${kind((n) => names.has(n))} ${step}`),
  }
}

/** What TensorBoard shows: a session's start takes away what has its step or a later one. */
async function events(folder: string): Promise<{ step: number; names: Set<string> }[]> {
  let shown: { step: number; names: Set<string> }[] = []
  const files = (await readdir(folder)).filter((name) => name.includes('tfevents')).sort()
  for (const name of files) {
    const file = await readFile(join(folder, name))
    for (let at = 0; at < file.length; ) {
      const length = Number(file.readBigUInt64LE(at))
      const event = { step: 0, names: new Set<string>(), start: false }
      new PbfReader(file.subarray(at + 12, at + 12 + length)).readFields((field, _, pbf) => {
        if (field === 2) event.step = pbf.readVarint()
        else if (field === 5)
          pbf.readMessage((summary, __, inner) => {
            if (summary !== 1) return
            inner.readMessage((value, ___, tag) => {
              if (value === 1) event.names.add(tag.readString())
            }, null)
          }, null)
        else if (field === 7)
          pbf.readMessage((status, __, log) => {
            if (status === 1) event.start = log.readVarint() === 1
          }, null)
      }, null)
      if (event.start) shown = shown.filter(({ step }) => step < event.step)
      else if (event.names.size > 0) shown.push(event)
      at += length + 16
    }
  }
  return shown
}

const three = (folder: string) =>
  [CSVLogger, JSONLLogger, TensorBoardLogger].map((L) => new L(folder, { version: 'run' }))

for (const from of ['last', 'best', 'middle'] as const) {
  test.serial(`no step is logged twice after a crash: from '${from}'`, async (t) => {
    const [folder, dirpath] = [await temporary(t), await temporary(t)]
    const run = join(folder, 'run')
    const whole = await train([], 6, { logger: three(join(folder, 'whole')) })
    const expected = whole.history.records.map(({ kind, step }) => `${kind} ${step}`)
    t.deepEqual((await logged(join(folder, 'whole', 'run'))).csv, expected)

    const losses = from === 'best' ? [9, 8, 7, 10, 10, 10] : undefined
    const saving = new ModelCheckpoint({ dirpath, monitor: 'valLoss' })
    const crash: Callback = {
      async onTrainBatchEnd(trainer) {
        if (trainer.globalStep === 5) await trainer.saveCheckpoint(join(dirpath, 'middle'))
        if (trainer.globalStep === 9) throw new Error('a crash')
      },
    }
    const first = train([crash, saving], 6, { logger: three(folder), ...(losses && { losses }) })
    await rejectsWith(t, first, Error, /a crash/)
    // A crash of the machine leaves half a record.
    await writeFile(join(run, 'metrics.csv'), '9,4,0.12', { flag: 'a' })
    await writeFile(join(run, 'metrics.jsonl'), '{"step":9,"epo', { flag: 'a' })
    const [file = ''] = (await readdir(run)).filter((name) => name.includes('tfevents'))
    await writeFile(join(run, file), Buffer.of(24, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3), { flag: 'a' })

    const ckptPath = join(dirpath, from)
    const { history } = await train([], 6, { logger: three(folder), ckptPath })
    t.deepEqual(
      history.records.map(({ kind, step }) => `${kind} ${step}`),
      expected,
    )
    t.deepEqual(await logged(run), { csv: expected, jsonl: expected, events: expected })
    // What is in the files, for every reader.
    const again = await train([], 6, { logger: three(folder), ckptPath })
    t.is(again.epoch, 6)
    t.deepEqual(await logged(run), { csv: expected, jsonl: expected, events: expected })
  })
}

test.serial('a logger that goes on without a checkpoint ends a half-written line', async (t) => {
  const folder = await temporary(t)
  const logs = three(folder)
  for (const log of logs) log.logMetrics({ loss: 1 }, 1)
  for (const log of logs) await log.finalize()
  const run = join(folder, 'run')
  await writeFile(join(run, 'metrics.csv'), '2,0.', { flag: 'a' })
  await writeFile(join(run, 'metrics.jsonl'), '{"step":2', { flag: 'a' })
  const others = three(folder)
  for (const log of others) log.logMetrics({ loss: 3 }, 3)
  for (const log of others) await log.finalize()
  t.is(await readFile(join(run, 'metrics.csv'), 'utf8'), 'step,loss\n1,1\n3,3\n')
  t.is(
    await readFile(join(run, 'metrics.jsonl'), 'utf8'),
    '{"step":1,"loss":1}\n{"step":3,"loss":3}\n',
  )
})

test.serial('event files of other programs are left alone', async (t) => {
  const folder = await temporary(t)
  const logger = new TensorBoardLogger(folder, { version: 'run' })
  for (const step of [1, 2, 3]) logger.logMetrics({ loss: step }, step)
  await logger.finalize()
  const run = join(folder, 'run')
  const [own = ''] = await readdir(run)
  const other = join(run, 'events.out.tfevents.1700000000.host.17.0')
  await writeFile(other, await readFile(join(run, own)))
  await logger.resume(1, 1)
  t.true((await readFile(other)).length > (await readFile(join(run, own))).length)
  await rm(other)
  t.deepEqual(
    (await events(run)).map(({ step }) => step),
    [1],
  )
})
