/** Several processes under mpirun: programs in test/distributed, and what they print. */
import { spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { emulated, testDevice } from './helpers.js'

/** Open MPI's and MPICH's take other options. */
const mpirun = spawnSync('mpirun', ['--version'], { encoding: 'utf8' })
const here = mpirun.status === 0 && /Open MPI/.test(mpirun.stdout)
const why = here ? '' : ' (left out: there is no mpirun of Open MPI, apt-get install openmpi-bin)'
const several = here ? test.serial : test.serial.skip
// Kernels are slow there, and the group's ways are the same.
const once = here && !emulated ? test.serial : test.serial.skip

const program = (name: string): string =>
  fileURLToPath(new URL(`distributed/${name}.js`, import.meta.url))

interface Ended {
  code: number | null
  stdout: string
  stderr: string
  seconds: number
}

const env = {
  ...process.env,
  NO_COLOR: '1',
  // Tests may run as root, in containers.
  OMPI_ALLOW_RUN_AS_ROOT: '1',
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  OMPI_MCA_rmaps_base_oversubscribe: '1',
}

async function run(command: string, args: readonly string[], cwd?: string): Promise<Ended> {
  const start = performance.now()
  const child = spawn(command, args, { env, ...(cwd !== undefined && { cwd }) })
  const ended: Ended = { code: null, stdout: '', stderr: '', seconds: 0 }
  child.stdout.setEncoding('utf8').on('data', (text) => {
    ended.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    ended.stderr += text
  })
  ended.code = await new Promise((resolve) => child.on('close', resolve))
  ended.seconds = (performance.now() - start) / 1000
  return ended
}

const parallel = (processes: number, args: readonly string[], cwd?: string): Promise<Ended> =>
  run('mpirun', ['--oversubscribe', '-np', String(processes), process.execPath, ...args], cwd)

async function json<T>(ended: Promise<Ended>): Promise<T> {
  const { code, stdout, stderr } = await ended
  if (code !== 0) throw new Error(`code ${code}\n${stdout}\n${stderr}`)
  return JSON.parse(stdout)
}

for (const size of [2, 4]) {
  several(`collectives of ${size} processes${why}`, async (t) => {
    const found = await json<Record<string, unknown>>(parallel(size, [program('collectives')]))
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
    t.true((found.ticks as number) > 20, `the event loop turned ${found.ticks} times in 0.3 s`)
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
  for (const size of [2, 4]) {
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
  index: { says: /^rank 2 of 3: .*\[embedding\] index\[0\]: expected a whole number .* got 7/ },
  mismatch: {
    says: /^rank \d of 3: .*\[DistributedDataParallel\] parameters: expected the same in all processes, got '1.weight' \(4, 3\) on rank 0 and '1.weight' \(5, 3\) on rank 2/,
  },
  count: { says: /got '1.weight' \(3, 3\) on rank 0 and no more on rank 2/ },
}
for (const [how, { says, code }] of Object.entries(failures)) {
  once(`a process that ${how} ends all${why}`, async (t) => {
    const ended = await parallel(3, [program('failures'), how])
    t.not(ended.code, 0)
    if (code !== undefined) t.is(ended.code, code)
    t.regex(ended.stderr.trimStart(), says)
    t.true(ended.seconds < 15, `after ${ended.seconds} s`)
  })
}
