/**
 * Two hosts with a cable between them, which is pulled while they train: two network namespaces, a
 * veth pair, and mpirun with an rsh agent that enters them.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { emulated, limit, sanitized } from './helpers.js'
import { type Finished, run } from './limits.js'

const HOSTS = ['10.213.7.1', '10.213.7.2'] as const
/** Begins the names of namespaces; the number of this process follows. */
const PREFIX = 'fused-rnn-test-'

const program = fileURLToPath(new URL('distributed/trainer.js', import.meta.url))

function ip(...args: string[]): { ok: boolean; said: string } {
  const { status, stdout, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' })
  return { ok: status === 0, said: `${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}` }
}

function killAll(name: string): void {
  for (const pid of ip('netns', 'pids', name).said.split(/\s+/).filter(Number)) {
    try {
      process.kill(Number(pid), 'SIGKILL')
    } catch {}
  }
}

/** Ends what runs in a namespace, and the namespace. */
function remove(name: string): void {
  killAll(name)
  ip('netns', 'del', name)
}

/** Namespaces of tests that were killed. */
function removeStale(): void {
  for (const line of ip('netns', 'list').said.split('\n')) {
    const [, name = '', pid = ''] = new RegExp(`^(${PREFIX}(\\d+)-[ab])\\b`).exec(line) ?? []
    if (name !== '' && Number(pid) !== process.pid && !existsSync(`/proc/${pid}`)) remove(name)
  }
}

/** Why there can be no two hosts here; empty if there can. */
function missing(): string {
  if (emulated) return 'native/cuda_host is slow, and has no network'
  if (sanitized) return "mpirun does not run with a sanitizer's library"
  if (!/Open MPI/.test(spawnSync('mpirun', ['--version'], { encoding: 'utf8' }).stdout ?? ''))
    return 'there is no mpirun of Open MPI, apt-get install openmpi-bin'
  if (!ip('-V').ok) return 'there is no ip, apt-get install iproute2'
  const name = `${PREFIX}${process.pid}-a`
  const { ok, said } = ip('netns', 'add', name)
  if (!ok) return `no network namespace can be made: ${said.trim().split('\n')[0]}`
  const link = ip('-n', name, 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1')
  const uts = spawnSync('unshare', ['--uts', 'true']).status === 0
  remove(name)
  if (!link.ok) return `no veth pair can be made: ${link.said.trim()}`
  return uts ? '' : 'unshare --uts does not work here'
}

const reason = missing()
const twoHosts = reason === '' ? test.serial : test.serial.skip
const title = (text: string): string => (reason === '' ? text : `${text} (left out: ${reason})`)

interface Network {
  folder: string
  /** One process on each host. */
  train(scenario: object): Promise<Finished>
  cable(state: 'up' | 'down'): void
  /** How many processes there are on both hosts: of training, or mpirun's own. */
  count(what: 'training' | 'mpirun'): Promise<number>
  /** Ends what is left, such as mpirun's daemon on the other side. */
  kill(): void
  /** What a process has written to standard error; a cut network does not bring it to mpirun. */
  stderr(rank: number): Promise<string>
}

async function network(t: ExecutionContext): Promise<Network> {
  removeStale()
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-network-'))
  const names = ['a', 'b'].map((letter) => `${PREFIX}${process.pid}-${letter}`) as [string, string]
  const clean = (): void => names.forEach(remove)
  process.once('exit', clean)
  t.teardown(async () => {
    clean()
    process.off('exit', clean)
    await rm(folder, { recursive: true, force: true })
  })
  const must = (...args: string[]): void => {
    const { ok, said } = ip(...args)
    if (!ok) throw new Error(`ip ${args.join(' ')}: ${said}`)
  }
  for (const name of names) must('netns', 'add', name)
  must('-n', names[0], 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v0', 'netns', names[1])
  names.forEach((name, i) => {
    must('-n', name, 'addr', 'add', `${HOSTS[i]}/24`, 'dev', 'v0')
    for (const link of ['lo', 'v0']) must('-n', name, 'link', 'set', link, 'up')
  })
  // A host has a name, too.
  const enter = (i: number): string =>
    `exec ip netns exec ${names[i]} unshare --uts sh -c 'echo host${i} >/proc/sys/kernel/hostname 2>/dev/null; exec "$@"' sh`
  const agent = join(folder, 'agent')
  await writeFile(
    agent,
    `#!/bin/sh\nhost=$1\nshift\ncase $host in ${HOSTS[0]}) ${enter(0)} sh -c "$*" ;; esac\n${enter(1)} sh -c "$*"\n`,
    { mode: 0o755 },
  )
  const first = join(folder, 'first')
  await writeFile(first, `#!/bin/sh\n${enter(0)} "$@"\n`, { mode: 0o755 })
  let runs = 0
  const output = (): string => join(folder, `output-${runs}`)
  return {
    folder,
    train(scenario) {
      runs++
      const options: Record<string, string> = {
        plm_rsh_agent: agent,
        btl: 'tcp,self',
        pml: 'ob1',
        oob_tcp_if_include: 'v0',
        btl_tcp_if_include: 'v0',
      }
      const args = [
        ...Object.entries(options).flatMap(([name, value]) => ['--mca', name, value]),
        ...['-np', '2', '--host', HOSTS.map((host) => `${host}:1`).join(',')],
        ...['--output-filename', output()],
        ...[process.execPath, program, JSON.stringify(scenario)],
      ]
      return run(first, ['mpirun', ...args], {
        cwd: folder,
        env: {
          ...process.env,
          NO_COLOR: '1',
          OMPI_ALLOW_RUN_AS_ROOT: '1',
          OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
        },
      })
    },
    cable: (state) => must('-n', names[1], 'link', 'set', 'v0', state),
    kill: () => names.forEach(killAll),
    async count(what) {
      const pids = names.flatMap((name) => ip('netns', 'pids', name).said.split(/\s+/))
      const lines = await Promise.all(
        pids.filter(Number).map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
      )
      // mpirun has the program among its arguments, too.
      const begin = what === 'mpirun' ? 'mpirun\0' : `${process.execPath}\0${program}`
      return lines.filter((line) => line.startsWith(begin)).length
    },
    async stderr(rank) {
      const [job = ''] = await readdir(output())
      return readFile(join(output(), job, `rank.${rank}`, 'stderr'), 'utf8')
    },
  }
}

interface Fit {
  stopped: string
  globalStep: number
  apart: number
  norm: number
}

const result = ({ code, stdout, stderr }: Finished): Fit => {
  if (code !== 0) throw new Error(`code ${code}\n${stdout}\n${stderr}`)
  return JSON.parse(stdout)
}

twoHosts(title('a network that is cut ends all, and training goes on afterwards'), async (t) => {
  const hosts = await network(t)
  const scenario = { batches: 'sequential', batchSize: 8, maxEpochs: 2 }
  const alone = result(await run(process.execPath, [program, JSON.stringify(scenario)]))
  const same = (got: Fit, what: string): void => {
    t.is(got.apart, 0, what)
    t.is(got.globalStep, alone.globalStep, what)
    t.true(Math.abs(got.norm - alone.norm) < 1e-3 * alone.norm, what)
  }
  same(result(await hosts.train(scenario)), 'while the network works')

  const every = join(hosts.folder, 'last')
  const timeout = limit(5)
  // 8 steps of a second each.
  const cut = hosts.train({ ...scenario, every, slow: 1000, timeout })
  const deadline = performance.now() + limit(120)
  while (!existsSync(every) && performance.now() < deadline) await sleep(20)
  t.is(await hosts.count('training'), 2)
  hosts.cable('down')
  const start = performance.now()
  const late = (): boolean => performance.now() - start > timeout + limit(60)
  while ((await hosts.count('training')) > 0 && !late()) await sleep(50)
  const took = performance.now() - start
  t.is(await hosts.count('training'), 0, `after ${took} ms`)
  t.true(took > timeout / 2, `ended after ${took} ms, and not by the timeout`)
  for (const rank of [0, 1]) {
    t.regex(
      await hosts.stderr(rank),
      new RegExp(
        `^fused-rnn: rank ${rank} of 2: \\[\\w+\\] collective number \\d+, \\w+.* has waited [\\d.]+ s for the other processes, and the timeout is [\\d.]+ s: `,
        'm',
      ),
    )
  }
  // It does not wait for its daemon on the other side.
  while ((await hosts.count('mpirun')) > 0 && !late()) await sleep(50)
  t.is(await hosts.count('mpirun'), 0)
  hosts.kill()
  const ended = await cut
  t.not(ended.code, 0)
  t.regex(ended.stderr, /^fused-rnn: rank 0 of 2: /m)

  hosts.cable('up')
  same(result(await hosts.train({ ...scenario, from: every })), 'afterwards')
})
