/** The engines that the benchmark knows, and how each is started. */
import { join } from 'node:path'
import type { Workload } from './workloads.js'

const compiled = join(import.meta.dirname, 'peers')
const sources = join(import.meta.dirname, '../bench/peers')

/** One way to run a workload. */
export interface Engine {
  /** In tables and pictures. */
  title: string
  command: string
  /** Program and its path; workload, threads and mode follow. */
  program: string
  /** The program's third argument. */
  mode?: string
  /** What to type where it is missing. */
  install: string
  /** Whether it is of interest for a workload. */
  suits(w: Workload): boolean
  /** What it is given to do. */
  given?(w: Workload): Workload
}

const python = process.env.PYTHON ?? 'python3'
const always = (): boolean => true
const withoutNorms = (w: Workload): boolean => !w.norms
/** On the CPU with `--precision bf16`, both sides' bfloat16 is measured beside their float32. */
const inBf16 = (): boolean =>
  process.env.FUSED_RNN_BENCH_PRECISION === 'bf16' && process.env.FUSED_RNN_BENCH_DEVICE === 'cpu'
const isPacked = (w: Workload): boolean => w.kind === 'packed'
const isOneHot = (w: Workload): boolean =>
  w.embedding === 0 && (w.kind === 'lm' || w.kind === 'seq2seq')
const padded = (w: Workload): Workload => ({ ...w, padded: true })
const intoFolder = (name: string): string =>
  `npm install --prefix FOLDER ${name}, then set FUSED_RNN_PEERS=FOLDER`

const ours = {
  title: 'fused-rnn',
  command: process.execPath,
  program: join(compiled, 'fused_rnn.js'),
  install: 'npm run build',
  suits: always,
} satisfies Engine

const pytorch = {
  title: 'PyTorch',
  command: python,
  program: join(sources, 'pytorch.py'),
  install: `${python} -m pip install torch`,
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
  'pytorch-padded': { ...pytorch, title: 'PyTorch, padded', suits: isPacked, given: padded },
  jax: {
    title: 'JAX',
    command: python,
    program: join(sources, 'jax_scan.py'),
    install: `${python} -m pip install jax`,
    suits: withoutNorms,
  },
  keras: {
    title: 'Keras',
    command: python,
    program: join(sources, 'keras_model.py'),
    install: `${python} -m pip install tensorflow`,
    suits: withoutNorms,
  },
  tfjs: {
    title: 'TensorFlow.js',
    command: process.execPath,
    program: join(compiled, 'tfjs.js'),
    install: intoFolder('@tensorflow/tfjs-node (or @tensorflow/tfjs)'),
    suits: withoutNorms,
  },
  brain: {
    title: 'brain.js',
    command: process.execPath,
    program: join(compiled, 'brain.js'),
    install: intoFolder('brain.js'),
    suits: withoutNorms,
  },
} satisfies Record<string, Engine>

/** The name of an engine. */
export type EngineName = keyof typeof all

/** Every engine, in the order of a round: ours first. */
export const engines: Readonly<Record<EngineName, Engine>> = all

/** What `--peers` takes; the padded ones come by themselves where the workload is packed. */
export const peerNames: readonly EngineName[] = [
  'pytorch',
  'pytorch-lookup',
  'jax',
  'keras',
  'tfjs',
  'brain',
]
