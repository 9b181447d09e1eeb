/** How many threads there are at the start: what the process may use, and what variables say. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test from 'ava'
import { runScript } from './helpers.js'

/** Looks at made-up systems, each a list of files. */
async function usable(systems: Record<string, string>[], processes = 1): Promise<Usable[]> {
  const roots = systems.map((files) => {
    const root = mkdtempSync(join(tmpdir(), 'fused-rnn-threads-'))
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    return root
  })
  const { stdout, stderr, code } = await runScript(`
    import { binding } from './dist/binding.js'
    const roots = ${JSON.stringify(roots)}
    console.log(JSON.stringify(roots.map((root) => binding.usableProcessors(root, ${processes}))))
  `)
  for (const root of roots) rmSync(root, { recursive: true })
  if (code !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

interface Usable {
  count: number
  why: string
}

const cgroup2 = '30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n'
const cgroup1 =
  '33 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n'

const linux = process.platform === 'linux' ? test : test.skip

linux(
  'quotas of control groups, of both versions, of the own group and those around it',
  async (t) => {
    const all = (await usable([{}]))[0] as Usable
    t.true(all.count >= 1 && all.count <= cpus().length)
    const quota = (text: string, expected: number): [Record<string, string>, number] => [
      {
        'proc/self/cgroup': '0::/a/b\n',
        'proc/self/mountinfo': cgroup2,
        'sys/fs/cgroup/a/b/cpu.max': text,
      },
      Math.min(expected, all.count),
    ]
    const cases: [Record<string, string>, number][] = [
      quota('max 100000\n', Infinity),
      quota('100000 100000\n', 1),
      quota('1000 100000\n', 1), // less than one processor
      quota('120000 100000\n', 2), // rounded up
      quota('100000000 100000\n', 1000),
      quota('nonsense\n', Infinity),
      quota('100000\n', Infinity),
      quota('100000 0\n', Infinity),
      // The group around it has less.
      [
        {
          'proc/self/cgroup': '0::/a/b\n',
          'proc/self/mountinfo': cgroup2,
          'sys/fs/cgroup/a/b/cpu.max': 'max 100000\n',
          'sys/fs/cgroup/a/cpu.max': '50000 50000\n',
        },
        1,
      ],
      // A container whose own group is at the root.
      [
        {
          'proc/self/cgroup': '0::/\n',
          'proc/self/mountinfo': cgroup2,
          'sys/fs/cgroup/cpu.max': '100000 100000\n',
        },
        1,
      ],
      // The host's path, of which the container sees the end only.
      [
        {
          'proc/self/cgroup': '0::/docker/123\n',
          'proc/self/mountinfo': cgroup2.replace(' / ', ' /docker/123 '),
          'sys/fs/cgroup/cpu.max': '100000 100000\n',
        },
        1,
      ],
      // The first version, with the second beside it.
      [
        {
          'proc/self/cgroup': '5:cpu,cpuacct:/c\n1:name=systemd:/c\n0::/c\n',
          'proc/self/mountinfo': `${cgroup1}${cgroup2.replace('/sys/fs/cgroup', '/sys/fs/cgroup/unified')}`,
          'sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us': '100000\n',
          'sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us': '100000\n',
        },
        1,
      ],
      [
        {
          'proc/self/cgroup': '5:cpu,cpuacct:/c\n',
          'proc/self/mountinfo': cgroup1,
          'sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us': '-1\n',
          'sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us': '100000\n',
          'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '100000\n',
          'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
        },
        1,
      ],
      // Files that are none of this.
      [
        { 'proc/self/cgroup': 'x\n:\n0::\n::/\n', 'proc/self/mountinfo': 'x\n - \n - cgroup2\n' },
        Infinity,
      ],
    ]
    const found = await usable(cases.map(([files]) => files))
    for (const [i, { count, why }] of found.entries()) {
      const expected = Math.min(cases[i]?.[1] as number, all.count)
      t.is(count, expected, JSON.stringify(cases[i]?.[0]))
      t.regex(why, expected < all.count ? /^cgroup quota: / : /processors?$/)
    }
    t.is((await usable([{}], all.count * 2))[0]?.count, 1)
  },
)

const script = `
  import { getNumThreads, ones } from 'fused-rnn'
  await ones([2]).data()
  console.log(getNumThreads())
`
const clean = { FUSED_RNN_NUM_THREADS: '', OMP_NUM_THREADS: '' }

test('variables of the environment: ours wins, nonsense is told', async (t) => {
  const run = async (env: Record<string, string>) => {
    const { code, stdout, stderr } = await runScript(script, { env: { ...clean, ...env } })
    return { code, threads: Number(stdout), stderr }
  }
  const { threads: usual, stderr } = await run({})
  t.is(stderr, '')
  t.true(usual >= 1 && usual <= cpus().length)
  for (const [env, expected] of [
    [{ FUSED_RNN_NUM_THREADS: '3' }, 3],
    [{ OMP_NUM_THREADS: '5' }, 5],
    [{ OMP_NUM_THREADS: ' 4,2 ' }, 4],
    [{ FUSED_RNN_NUM_THREADS: '3', OMP_NUM_THREADS: 'x' }, 3],
    [{ FUSED_RNN_NUM_THREADS: '1024' }, 1024],
  ] as const) {
    const { code, threads, stderr } = await run({ ...env })
    t.is(code, 0, stderr)
    t.is(threads, expected, JSON.stringify(env))
    t.is(stderr, '')
  }
  for (const text of ['0', '-1', 'two', '1.5', '1025', '2,2', '99999999999', ' ']) {
    const ours = await run({ FUSED_RNN_NUM_THREADS: text })
    t.is(ours.code, 1)
    t.true(
      ours.stderr.includes(
        `FUSED_RNN_NUM_THREADS: expected a whole number from 1 to 1024, got '${text}'`,
      ),
      ours.stderr,
    )
  }
  for (const text of ['0', '-1', 'two', '1e9']) {
    const theirs = await run({ OMP_NUM_THREADS: text })
    t.is(theirs.code, 0, theirs.stderr)
    t.is(theirs.threads, usual)
    t.regex(theirs.stderr, /Warning: OMP_NUM_THREADS is passed over: expected a whole number from/)
    t.true(theirs.stderr.includes(`got '${text}'`))
  }
})

const taskset = spawnSync('taskset', ['-V']).status === 0
const pinned = linux === test && taskset ? test : test.skip

pinned('a process that may use one processor has one thread', (t) => {
  const file = join(mkdtempSync(join(tmpdir(), 'fused-rnn-pinned-')), 'script.mjs')
  const library = new URL('../dist/index.js', import.meta.url).href
  writeFileSync(file, script.replace("'fused-rnn'", JSON.stringify(library)))
  const first = execFileSync('taskset', ['-p', String(process.pid)], { encoding: 'utf8' })
  const mask = BigInt(`0x${/: ([0-9a-f,]+)\s*$/.exec(first)?.[1]?.replaceAll(',', '')}`)
  const processor = mask.toString(2).split('').reverse().indexOf('1')
  const out = execFileSync('taskset', ['-c', String(processor), process.execPath, file], {
    env: { ...process.env, ...clean },
    encoding: 'utf8',
  })
  rmSync(dirname(file), { recursive: true })
  t.is(out.trim(), '1')
})
