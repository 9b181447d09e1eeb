/** The engines that the benchmark knows, and how each is started. */
import { join } from 'node:path'
import { Peer } from './process.js'
import type { Workload } from './workloads.js'

const root = join(import.meta.dirname, '../..')
const compiled = join(import.meta.dirname, 'peers')
/** The peers in Python come with the package; those in other packages of Node only with a clone. */
const inPython = join(root, 'bench/peers')
const inClone = join(root, 'dist-bench/peers')

/** One way to run a workload. */
export interface Engine {
  /** In tables and pictures. */
  title: string
  language: 'node' | 'python'
  /** The program's path; workload, threads and mode follow. */
  program: string
  /** The program's third argument. */
  mode?: string
  /** Where it is missing: the packages to install, for Python with pip. */
  packages: string
  /** Whether it is of interest for a workload. */
  suits(w: Workload): boolean
  /** What it is given to do. */
  given?(w: Workload): Workload
}

const always = (): boolean => true
const isPlain = (w: Workload): boolean => !w.norms && w.variant === undefined
const isVariant = (w: Workload): boolean => w.variant !== undefined
/** On the CPU with `--precision bf16`, both sides' bfloat16 is measured beside their float32. */
const inBf16 = (): boolean =>
  process.env.FUSED_RNN_BENCH_PRECISION === 'bf16' && process.env.FUSED_RNN_BENCH_DEVICE === 'cpu'
const isPacked = (w: Workload): boolean => w.kind === 'packed'
const isOneHot = (w: Workload): boolean =>
  w.embedding === 0 && (w.kind === 'lm' || w.kind === 'seq2seq')
const padded = (w: Workload): Workload => ({ ...w, padded: true })
const plain = ({ variant: _, ...w }: Workload): Workload => w

const ours = {
  title: 'fused-rnn',
  language: 'node',
  program: join(compiled, 'fused_rnn.js'),
  packages: 'fused-rnn',
  suits: always,
} satisfies Engine

const pytorch = {
  title: 'PyTorch',
  language: 'python',
  program: join(inPython, 'pytorch.py'),
  packages: 'torch',
  suits: always,
} satisfies Engine

const all = {
  'fused-rnn': ours,
  pytorch,
  'pytorch-lookup': {
    ...pytorch,
    title: 'PyTorch, row lookup',
    mode: 'lookup',
    suits: isOneHot,
  },
  'pytorch-autocast': { ...pytorch, title: 'PyTorch, autocast', mode: 'autocast', suits: inBf16 },
  'fused-rnn-float32': { ...ours, title: 'fused-rnn, float32', mode: 'float32', suits: inBf16 },
  'fused-rnn-padded': { ...ours, title: 'fused-rnn, padded', suits: isPacked, given: padded },
  'fused-rnn-plain': { ...ours, title: 'fused-rnn, plain cell', suits: isVariant, given: plain },
  'pytorch-padded': { ...pytorch, title: 'PyTorch, padded', suits: isPacked, given: padded },
  jax: {
    title: 'JAX',
    language: 'python',
    program: join(inPython, 'jax_scan.py'),
    packages: 'jax',
    suits: isPlain,
  },
  keras: {
    title: 'Keras',
    language: 'python',
    program: join(inPython, 'keras_model.py'),
    packages: 'tensorflow',
    suits: isPlain,
  },
  tfjs: {
    title: 'TensorFlow.js',
    language: 'node',
    program: join(inClone, 'tfjs.js'),
    packages: '@tensorflow/tfjs-node (or @tensorflow/tfjs)',
    suits: isPlain,
  },
  brain: {
    title: 'brain.js',
    language: 'node',
    program: join(inClone, 'brain.js'),
    packages: 'brain.js',
    suits: isPlain,
  },
} satisfies Record<string, Engine>

/** The name of an engine. */
export type EngineName = keyof typeof all

/** Every engine, in the order of a round: ours first. */
export const engines: Readonly<Record<EngineName, Engine>> = all

/** What `npm run bench -- --peers` takes; the padded ones come by themselves where the workload is packed. */
export const peerNames: readonly EngineName[] = [
  'pytorch',
  'pytorch-lookup',
  'jax',
  'keras',
  'tfjs',
  'brain',
]

/** The engines to put beside ours for a workload. */
export function opponents(w: Workload, peers: readonly EngineName[]): EngineName[] {
  const wanted = new Set<EngineName>(peers)
  // bfloat16 is compared with float32, by the same engines.
  wanted.add('fused-rnn-float32')
  if (wanted.has('pytorch')) wanted.add('pytorch-autocast')
  // Packing is compared with padding, by the same engines.
  wanted.add('fused-rnn-padded')
  if (wanted.has('pytorch')) wanted.add('pytorch-padded')
  // A cell is compared with the plain one.
  wanted.add('fused-rnn-plain')
  wanted.delete('fused-rnn')
  return (Object.keys(engines) as EngineName[]).filter(
    (name) => wanted.has(name) && engines[name].suits(w),
  )
}

/** The interpreter that the peers in Python run in. */
export function python(): string {
  return process.env.PYTHON || (process.platform === 'win32' ? 'python' : 'python3')
}

/** Starts an engine's program, or another of its language. @throws (rejects) PeerError */
export function startEngine(
  { language, program }: Engine,
  args: readonly string[],
  other = program,
): Promise<Peer> {
  return Peer.start(language === 'python' ? python() : process.execPath, [other, ...args])
}

/** What to type where an engine's packages are missing. */
export function howToInstall({ language, packages }: Engine): string {
  return language === 'python'
    ? `${python()} -m pip install ${packages}`
    : `npm install --prefix FOLDER ${packages}, then set FUSED_RNN_PEERS=FOLDER`
}
