/** The benchmark's command line. */
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { type Budget, defaultBudget } from '#bench/cost.js'
import { type EngineName, peerNames } from '#bench/engines.js'
import { PRECISIONS } from '#bench/session.js'
import { type ListName, lists, type Workload } from '#bench/workloads.js'
import { type Operation, operations } from './operations.js'

export const HELP = `npm run bench -- [options]

  --list NAME        training (default), deepbench, packed, norms, cells, or all of them;
                     ops: single operations beside PyTorch's
  --only NAME,NAME   these workloads only, of any list
  --inference        forward only, and one token at a time at batch 1, instead of training
  --peers NAME,NAME  ${peerNames.join(', ')}
                     (default: pytorch, and pytorch-lookup where the input is one-hot)
  --threads N,N      default: as many as the machine has; several give the scaling table
  --device NAME      cpu (default), cuda or cuda:N: ours and PyTorch on that device
  --precision NAME   of products on a GPU, alike for all: tf32 (default), ieee or bf16;
                     on the CPU, bf16 puts ours in bfloat16 beside ours in float32, PyTorch in
                     float32 and PyTorch under autocast
  --rounds N         default: 5
  --budget GFLOP     leave out what costs more in a step (default: ${defaultBudget.gflop})
  --report           print the tables of docs/benchmarks.md from the last results, and measure nothing
`

export interface Options {
  /** What to run, a file of results each. */
  runs: { list: ListName; workloads: readonly Workload[] }[]
  /** Of `--list ops`; else none. */
  operations: readonly Operation[]
  /** Some of a list's workloads only. */
  partial: boolean
  inference: boolean
  peers: readonly EngineName[]
  threads: number[]
  device: string
  precision: (typeof PRECISIONS)[number]
  rounds: number
  budget: Budget
  report: boolean
  help: boolean
}

/** A mistake on the command line, in one line. */
export class UsageError extends Error {}

const isList = (name: string): name is ListName => Object.hasOwn(lists, name)
const isPeer = (name: string): name is EngineName => (peerNames as string[]).includes(name)

function whole(flag: string, text: string, limit: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 1 || value > limit) {
    throw new UsageError(`--${flag}: expected a whole number from 1 to ${limit}, got '${text}'`)
  }
  return value
}

function names(flag: string, text: string): string[] {
  const parts = text.split(',').filter((part) => part !== '')
  if (parts.length === 0) throw new UsageError(`--${flag}: expected NAME,NAME, got '${text}'`)
  return [...new Set(parts)]
}

function runsOf(list: string | undefined, only: string | undefined): Options['runs'] {
  const all = Object.keys(lists) as ListName[]
  if (list !== undefined && list !== 'all' && !isList(list)) {
    throw new UsageError(`--list: expected ${[...all, 'ops', 'all'].join(', ')}, got '${list}'`)
  }
  if (only === undefined) {
    const wanted = list === 'all' ? all : [(list ?? 'training') as ListName]
    return wanted.map((name) => ({ list: name, workloads: lists[name] }))
  }
  const wanted = names('only', only)
  const searched = list === undefined || list === 'all' ? all : [list as ListName]
  const known = searched.flatMap((name) => lists[name].map((w) => w.name))
  const unknown = wanted.find((name) => !known.includes(name))
  if (unknown !== undefined) {
    const few = known.filter((name) => !name.startsWith('db-')).join(', ')
    throw new UsageError(`--only: no workload '${unknown}'; there are ${few || known.join(', ')}`)
  }
  return searched
    .map((name) => ({ list: name, workloads: lists[name].filter((w) => wanted.includes(w.name)) }))
    .filter(({ workloads }) => workloads.length > 0)
}

/** Operations whose names begin with one of these. */
function operationsOf(only: string | undefined): readonly Operation[] {
  if (only === undefined) return operations
  const wanted = names('only', only)
  const chosen = operations.filter(({ name }) => wanted.some((text) => name.startsWith(text)))
  if (chosen.length > 0) return chosen
  const known = [...new Set(operations.map(({ name }) => name))].join(', ')
  throw new UsageError(`--only: no operation '${only}'; there are ${known}`)
}

/** @throws UsageError */
export function parseOptions(args: string[]): Options {
  const { values } = (() => {
    try {
      return parseArgs({
        args,
        options: {
          list: { type: 'string' },
          only: { type: 'string' },
          inference: { type: 'boolean', default: false },
          peers: { type: 'string', default: 'pytorch,pytorch-lookup' },
          threads: { type: 'string', default: String(cpus().length) },
          device: { type: 'string', default: 'cpu' },
          precision: { type: 'string', default: 'tf32' },
          rounds: { type: 'string', default: '5' },
          budget: { type: 'string', default: String(defaultBudget.gflop) },
          report: { type: 'boolean', default: false },
          help: { type: 'boolean', default: false },
        },
      })
    } catch (error) {
      throw new UsageError((error as Error).message.split(/[.\n]/)[0])
    }
  })()
  const peers = names('peers', values.peers)
  const unknown = peers.find((name) => !isPeer(name))
  if (unknown !== undefined) {
    throw new UsageError(`--peers: expected some of ${peerNames.join(', ')}, got '${unknown}'`)
  }
  const precision = PRECISIONS.find((name) => name === values.precision)
  if (precision === undefined) {
    const expected = PRECISIONS.join(', ')
    throw new UsageError(`--precision: expected ${expected}, got '${values.precision}'`)
  }
  if (!/^(cpu|cuda(:\d+)?)$/.test(values.device)) {
    throw new UsageError(`--device: expected cpu, cuda or cuda:N, got '${values.device}'`)
  }
  return {
    device: values.device,
    precision,
    runs: values.list === 'ops' ? [] : runsOf(values.list, values.only),
    operations: values.list === 'ops' ? operationsOf(values.only) : [],
    partial: values.only !== undefined,
    inference: values.inference,
    peers: peers as EngineName[],
    threads: names('threads', values.threads)
      .map((text) => whole('threads', text, 1024))
      .sort((a, b) => a - b),
    rounds: whole('rounds', values.rounds, 1000),
    budget: { ...defaultBudget, gflop: whole('budget', values.budget, 1_000_000_000) },
    report: values.report,
    help: values.help,
  }
}
