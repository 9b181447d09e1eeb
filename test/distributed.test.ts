/** Several processes under mpirun: programs in test/distributed, and what they print. */
import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { distributed, Trainer } from 'fused-rnn'
import { emulated, limit, onCpu, testDevice, throwsWith } from './helpers.js'
import { type Finished, run as runProgram } from './limits.js'

/** Open MPI's and MPICH's take other options. */
const mpirun = spawnSync('mpirun', ['--version'], { encoding: 'utf8' })
const here = mpirun.status === 0 && /Open MPI/.test(mpirun.stdout)
const why = here ? '' : ' (left out: there is no mpirun of Open MPI, apt-get install openmpi-bin)'
const several = here ? test.serial : test.serial.skip
// native/cuda_host is slow, and the group's ways are the same.
const sizes = emulated ? [2] : [2, 4]
const once = here && !emulated ? test.serial : test.serial.skip

const program = (name: string): string =>
  fileURLToPath(new URL(`distributed/${name}.js`, import.meta.url))

// A sanitizer's library is for the programs: it finds mistakes of mpirun's own.
const { LD_PRELOAD: preload, ...given } = process.env
const env = {
  ...given,
  NO_COLOR: '1',
  // Tests may run as root, in containers.
  OMPI_ALLOW_RUN_AS_ROOT: '1',
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  OMPI_MCA_rmaps_base_oversubscribe: '1',
}

function run(command: string, args: readonly string[], cwd?: string): Promise<Finished> {
  const library = command !== 'mpirun' && preload ? { LD_PRELOAD: preload } : {}
  return runProgram(command, args, {
    env: { ...env, ...library },
    limitSeconds: 600,
    ...(cwd !== undefined && { cwd }),
  })
}

function parallel(processes: number, args: readonly string[], cwd?: string): Promise<Finished> {
  const library = preload ? ['-x', `LD_PRELOAD=${preload.replaceAll(' ', ':')}`] : []
  const options = ['--oversubscribe', '-np', String(processes), ...library]
  return run('mpirun', [...options, process.execPath, ...args], cwd)
}

async function json<T>(ended: Promise<Finished>): Promise<T> {
  const { code, stdout, stderr } = await ended
  if (code !== 0) throw new Error(`code ${code}\n${stdout}\n${stderr}`)
  return JSON.parse(stdout)
}

for (const [size, backend] of [
  [2, ''],
  [4, 'mpi'],
] as const) {
  several(`collectives of ${size} processes${why}`, async (t) => {
    const args = [program('collectives'), backend]
    const found = await json<Record<string, unknown>>(parallel(size, args))
    const ranks = Array.from({ length: size }, (_, rank) => rank)
    const factorial = ranks.reduce((product, rank) => product * (rank + 1), 1)
    const sum = (size * (size - 1)) / 2
    t.is(found.size, size)
    const expected: Record<string, number[]> = {
      sum: [sum + size, -sum],
      min: [1, 1 - size],
      max: [size, 0],
      product: [factorial, 0],
    }
    for (const [op, values] of Object.entries(expected)) {
      t.deepEqual(
        found[op],
        values.map((value) => value + 0),
      )
      t.deepEqual(
        found[`${op} of int32`],
        values.map((value) => value + 0),
      )
    }
    t.deepEqual(found.avg, [sum / size + 1, -sum / size])
    t.true(found.large)
    t.deepEqual(
      found.many,
      Array.from({ length: 50 }, (_, i) => size * i + sum),
    )
    t.deepEqual(found.broadcast, [size - 1, 10 * (size - 1)])
    t.deepEqual(
      found.allGather,
      ranks.flatMap((rank) => [rank, rank * rank]),
    )
    t.true((found.ticks as number) > 5, `the event loop turned ${found.ticks} times meanwhile`)
    t.deepEqual(found.refused, [
      '[init] this process is in a group already, or on its way',
      `[broadcast] src: expected a rank below ${size}, got ${size}`,
      `[allGather] tensorList: expected ${size} tensors, one for each process, got ${size - 1}`,
      `[allGather] tensorList[0]: expected as tensor, float32 of shape (3,) on ${testDevice}, got float32 of shape (2,) on ${testDevice}`,
      "[allReduce] tensor: expected float32 for op 'avg', got 'int32'",
    ])
    t.deepEqual(
      found.names,
      ['a.weight', 'a.bias', 'b.weight', 'b.bias'].map((name) => `module.${name}`),
    )
    t.regex(String(found.again), /'a.weight': its gradient is averaged already/)
    t.deepEqual(found.mean, [sum / size, 1])
    t.regex(
      String(found.unused),
      /^\[DistributedDataParallel\] gradients: expected one for every parameter, got none for 'b.weight' \(1, 2\), 'b.bias' \(1,\) on rank 0/,
    )
    t.true(found.own)
    t.deepEqual(found.accumulated, [(2 * sum) / size, 2])
    t.deepEqual(found.partly, [0, 1 / size])
    t.regex(String(found.after), /^\[allReduce\] this process is in no group/)
    t.deepEqual(found.second, [size])
  })
}

several(`every cell, optimiser and clip trains as with one process${why}`, async (t) => {
  type Losses = Record<string, number[]>
  const whole = await json<Losses>(run(process.execPath, [program('equivalence')]))
  for (const size of sizes) {
    const parts = await json<Losses>(parallel(size, [program('equivalence'), 'parallel']))
    t.deepEqual(Object.keys(parts), Object.keys(whole))
    for (const [name, losses] of Object.entries(whole)) {
      losses.forEach((loss, step) => {
        const got = parts[name]?.[step] ?? Number.NaN
        t.true(Math.abs(got - loss) < 2e-5, `${name}, ${size}, step ${step}: ${got}, not ${loss}`)
      })
      t.true((losses.at(-1) as number) < (losses[0] as number), `${name} learns`)
    }
  }
})

const failures: Record<string, { says: RegExp; code?: number }> = {
  throws: { says: /^rank 2 of 3: RangeError: the last one has had enough/ },
  rejects: { says: /^rank 2 of 3: RangeError: the last one has had enough/ },
  killed: { says: /signal 9/ },
  exits: { says: /./, code: 3 },
  leaves: { says: /^rank [01] of 3: .*\[allReduce\] the process of rank 2 has left the group/ },
  index: {
    says: /^rank 2 of 3: .*\[nn\.Embedding\(4, 2\)\] index\[0\]: expected a whole number .* got 7/,
  },
  mismatch: {
    says: /^rank \d of 3: .*\[DistributedDataParallel\] parameters: expected the same in all processes, got '1.weight' \(4, 3\) on rank 0 and '1.weight' \(5, 3\) on rank 2/,
  },
  count: { says: /got '1.weight' \(3, 3\) on rank 0 and no more on rank 2/ },
  differs: {
    says: /\[allReduce\] expected the same call in all processes, got allReduce \(sum\) of 300000 float32 on rank 0 and allReduce \(sum\) of 500000 float32 on rank 2/,
  },
  order: { says: /got allReduce \(sum\) of 1 float32 on rank 0 and broadcast from 1 of 1 float32/ },
  bucket: {
    says: /\[DistributedDataParallel\] options: expected the same in all processes, got bucketCapMb 25 on rank 0 and bucketCapMb 1 on rank 2/,
  },
  // Others go on with what comes after it.
  poisoned: {
    says: /^rank 2 of 3: .*\[nn\.Embedding\(4, 2\)\] index\[0\]: expected a whole number .* got 7/,
  },
  backward: {
    says: /^rank 2 of 3: .*\[DistributedDataParallel\] a backward pass has failed while gradients were being averaged: \[backward\] the graph of 'linear' was already used/,
  },
  // The others give up after the timeout. On a busy machine one that starts late is given up for the
  // collective before, which has to be told just as well: the number is not asked for.
  sleeps: {
    says: /^fused-rnn: rank [01] of 3: \[allReduce\] collective number [01], allReduce \(sum\) of 1 float32, has waited [\d.]+ s for the other processes, and the timeout is [\d.]+ s: /,
  },
  stops: { says: /^fused-rnn: rank [012] of 3: \[allReduce\] collective number [01], / },
  handles: {
    says: /^fused-rnn: rank [01] of 3: \[broadcast\] collective number 0, .*(?:\n.*)*^heard: \[broadcast\] .* has waited/m,
  },
  'stays away': {
    says: /^fused-rnn: rank [01] of 3: \[init\] has waited [\d.]+ s for the other processes/,
  },
  // While it waits for others to join.
  waits: { says: /RangeError: the first one has waited enough/ },
}
for (const [how, { says, code }] of Object.entries(failures)) {
  once(`a process that ${how} ends all${why}`, async (t) => {
    const ended = await parallel(3, [program('failures'), how, String(limit(5))])
    t.not(ended.code, 0)
    if (code !== undefined) t.is(ended.code, code)
    t.regex(ended.stderr.trimStart(), says)
    // The others would wait for half an hour.
    t.true(1000 * ended.seconds < limit(60), `after ${ended.seconds} s`)
  })
}

several(`a collective that waits too long ends all, by NCCL too${why}`, async (t) => {
  const ended = await parallel(2, [program('failures'), 'sleeps', String(limit(5))])
  t.is(ended.code, 1)
  t.regex(
    ended.stderr,
    onCpu
      ? /^fused-rnn: rank [01] of 2: \[allReduce\] collective number [01], .* float32, has waited/m
      : /^fused-rnn: rank [01] of 2: \[allReduce\] collective number [01], .* by NCCL, has waited/m,
  )
})

test('a timeout is milliseconds, and never so short that it was meant as seconds', (t) => {
  const any = (value: unknown): number => value as number
  for (const make of [
    (timeout: number) => distributed.init({ timeout }),
    (timeout: number) => new Trainer({ timeout }),
  ]) {
    for (const timeout of [30, 999, 0, -1, -Infinity])
      throwsWith(
        t,
        () => make(timeout),
        RangeError,
        /timeout: expected milliseconds, at least 1000/,
      )
    throwsWith(t, () => make(Number.NaN), RangeError, /timeout: expected a number/)
    for (const timeout of ['60000', new Date(60_000), [60_000]])
      throwsWith(t, () => make(any(timeout)), TypeError, /timeout: expected a number/)
  }
})

once(`time counts only while a collective waits${why}`, async (t) => {
  const timeout = limit(3)
  const ended = await parallel(3, [program('failures'), 'rests', String(timeout)])
  t.is(ended.code, 0, ended.stderr)
  t.is(ended.stderr, '')
  t.true(1000 * ended.seconds > 3 * timeout)
})

once(`a process that has done its part may end before others${why}`, async (t) => {
  const ended = await parallel(3, [program('failures'), 'early'])
  t.is(ended.code, 0, ended.stderr)
})

// ---- The Trainer -----------------------------------------------------------------------------------

interface Fit {
  stopped: string
  globalStep: number
  skippedSteps: number
  /** How far the processes' parameters are apart. */
  apart: number
  norm: number
  records: { kind: string; epoch: number; step: number; metrics: Record<string, number> }[]
}

const train = (size: number, scenario: object): Promise<Finished> => {
  const args = [program('trainer'), JSON.stringify(scenario)]
  return size === 1 ? run(process.execPath, args) : parallel(size, args)
}

/**
 * Asserts the same records, their numbers within rounding; only those of steps where one has been
 * interrupted, which leaves more.
 */
function sameFit(t: ExecutionContext, got: Fit, whole: Fit, what: string, steps = false): void {
  const counted = (fit: Fit): Fit =>
    steps ? { ...fit, records: fit.records.filter(({ kind }) => kind === 'step') } : fit
  const [actual, expected] = [counted(got), counted(whole)]
  t.is(actual.apart, 0, `${what}: all have the same parameters`)
  t.is(actual.stopped, expected.stopped, what)
  t.is(actual.globalStep, expected.globalStep, what)
  t.is(actual.records.length, expected.records.length, what)
  expected.records.forEach(({ metrics, ...where }, i) => {
    const got = actual.records[i] as Fit['records'][number]
    t.like(got, where, what)
    t.deepEqual(Object.keys(got.metrics), Object.keys(metrics))
    for (const [name, value] of Object.entries(metrics)) {
      const off = Math.abs((got.metrics[name] as number) - value)
      t.true(
        off < 1e-4 * Math.max(1, value),
        `${what}: ${where.kind} ${where.step} ${name} by ${off}`,
      )
    }
  })
  t.true(Math.abs(actual.norm - expected.norm) < 1e-3 * expected.norm, what)
}

const scenarios: Record<string, object> = {
  // 7 columns among 2 or 4.
  sequential: { batches: 'sequential', batchSize: 7, maxEpochs: 2, optimizer: 'sgd' },
  // 77 windows: 9 columns in the last batch.
  windows: { batches: 'windows', batchSize: 17, maxEpochs: 3 },
  // 20 sentences of each length: batches of 6, 6, 6 and 2, of which some get no part.
  buckets: { batches: 'buckets', batchSize: 6, maxEpochs: 2 },
  // One waits for another, in front of which the results are the same.
  slow: { batches: 'windows', batchSize: 8, maxSteps: 12, slow: 30 },
}
if (emulated) delete scenarios.windows
for (const [name, scenario] of Object.entries(scenarios)) {
  several(`a fit of several processes is that of one: ${name}${why}`, async (t) => {
    const alone = await json<Fit>(train(1, { ...scenario, slow: 0 }))
    for (const size of sizes) {
      sameFit(t, await json<Fit>(train(size, scenario)), alone, `${name}, ${size} processes`)
    }
  })
}

several(`training goes on with another number of processes${why}`, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-distributed-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const [a, b] = [join(folder, 'a'), join(folder, 'b')]
  for (const batches of emulated ? ['sequential'] : ['sequential', 'windows']) {
    const scenario = { batches, batchSize: 8, maxEpochs: 2 }
    const alone = await json<Fit>(train(1, scenario))
    // In the middle of an epoch, with a state that is carried on.
    await json(train(2, { ...scenario, maxSteps: 5, to: a }))
    await json(train(4, { ...scenario, maxSteps: 8, from: a, to: b }))
    sameFit(
      t,
      await json<Fit>(train(2, { ...scenario, from: b })),
      alone,
      `${batches}, 2, 4, 2`,
      true,
    )
    const again = await json<Fit>(train(1, { ...scenario, from: b }))
    sameFit(t, again, alone, `${batches}, 2, 4, 1`, true)
  }
})

once(`training goes on after a process has failed${why}`, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-distributed-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const every = join(folder, 'last')
  const scenario = { batches: 'sequential', batchSize: 8, maxEpochs: 1 }
  const alone = await json<Fit>(train(1, scenario))
  const ended = await train(3, { ...scenario, throwAt: 4, every })
  t.not(ended.code, 0)
  t.regex(ended.stderr.trimStart(), /^rank 2 of 3: RangeError: the last one has had enough/)
  t.true(1000 * ended.seconds < limit(60), `after ${ended.seconds} s`)
  sameFit(t, await json<Fit>(train(2, { ...scenario, from: every })), alone, 'after it')
})

once(`what one process asks for ends all together${why}`, async (t) => {
  const scenario = { batches: 'windows', batchSize: 8, maxEpochs: 3 }
  const aborted = await json<Fit>(train(3, { ...scenario, abortAt: 4 }))
  t.is(aborted.stopped, 'aborted')
  t.true(aborted.globalStep >= 4 && aborted.globalStep <= 10, `${aborted.globalStep}`)
  const stopped = await json<Fit>(train(3, { ...scenario, stopAt: 4 }))
  t.is(stopped.stopped, 'shouldStop')
  t.is(stopped.globalStep, aborted.globalStep)
  const skipped = await json<Fit>(train(3, { ...scenario, infinite: true, nonFinite: 'skip' }))
  t.is(skipped.skippedSteps, 1)
  t.is(skipped.apart, 0)
  const infinite = await train(3, { ...scenario, infinite: true })
  t.not(infinite.code, 0)
  t.regex(infinite.stderr, /\[Trainer\] (loss|gradient of [\w.]+): expected .* at step 3/)
})

once(`processes with other numbers of batches are refused${why}`, async (t) => {
  const scenario = { batches: 'windows', batchSize: 8, maxEpochs: 1, uneven: true }
  const known = await train(2, scenario)
  t.not(known.code, 0)
  t.regex(
    known.stderr,
    /\[fit\] what fit was given: expected the same in all processes, got trainData of 4 batches on rank 0 and trainData of 5 batches on rank 1/,
  )
  const unknown = await train(2, { ...scenario, seed: 1 })
  t.not(unknown.code, 0)
  t.regex(
    unknown.stderr,
    /\[fit\] trainData: expected as many batches in all processes, got no more than 4 on rank 0, more on rank 1/,
  )
})

// ---- The command line ------------------------------------------------------------------------------

once(`fused-rnn train with several processes${why}`, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-distributed-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
  await writeFile(
    join(folder, 'text.txt'),
    'all work and no play makes jack a dull boy\n'.repeat(60),
  )
  const options =
    'train text.txt --hidden 12 --embedding 6 --batch-size 9 --steps 10 --sample-length 20'
  const cli = (size: number, more: string): Promise<Finished> => {
    const args = [main, ...`${options} ${more}`.split(' ')]
    return size === 1 ? run(process.execPath, args, folder) : parallel(size, args, folder)
  }
  const curve = async (name: string): Promise<(string | number)[][]> => {
    const [head = '', ...lines] = (await readFile(join(folder, name, 'history.csv'), 'utf8'))
      .trim()
      .split('\n')
    const speed = head.split(',').indexOf('tokensPerSecond')
    return lines.map((line) => line.split(',').map((x, i) => (i === speed ? '' : Number(x) || x)))
  }
  t.is((await cli(1, '--out one --epochs 3')).code, 0)
  const four = await cli(4, '--out four --epochs 2')
  t.is(four.code, 0, four.stderr)
  t.is(four.stdout.match(/^run .*4 processes/gm)?.length, 1)
  t.is(four.stdout.match(/^Trained /gm)?.length, 1)
  // A training with fewer processes goes on from it.
  const resumed = await parallel(2, [main, 'train', '--resume', 'four', '--epochs', '3'], folder)
  t.is(resumed.code, 0, resumed.stderr)
  const [one, other] = [await curve('one'), await curve('four')]
  t.is(other.length, one.length)
  one.forEach((line, i) => {
    line.forEach((value, k) => {
      const got = other[i]?.[k]
      if (typeof value !== 'number') t.is(got, value)
      else t.true(Math.abs(Number(got) - value) < 1e-3 * value, `line ${i}, ${k}: ${got}, ${value}`)
    })
  })
  const again = await cli(3, '--out four')
  t.is(again.code, 1)
  t.regex(again.stderr, /^fused-rnn: rank 0 of 3: 'four' already has a model/)
  const wide = await cli(4, '--out wide --batch-size 3')
  t.is(wide.code, 1)
  t.regex(
    wide.stderr,
    /batches: expected a batchSize of at least 4, a column for each process, got 3/,
  )
})
