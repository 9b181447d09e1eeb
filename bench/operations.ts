/** Single operations: what `--list ops` times, ours and PyTorch's side by side. */
import { join } from 'node:path'
import { type EngineName, engines, startEngine } from '#bench/engines.js'
import { type Spread, spread } from '#bench/measure.js'
import type { Peer } from '#bench/process.js'

/** One operation on a square matrix; the peers in fused_rnn_ops.ts and pytorch_ops.py know the names. */
export interface Operation {
  name: OperationName
  /** Rows and columns. */
  size: number
  /** Whether a call is the operation alone, or with its gradient. */
  backward: boolean
}

/** Whether there is a gradient to time. */
const differentiable = {
  add: true,
  'add row': true,
  'add column': true,
  'mul number': true,
  pow: true,
  exp: true,
  tanh: true,
  sigmoid: true,
  sin: true,
  tan: true,
  erf: true,
  log1p: true,
  expm1: true,
  round: false,
  gelu: true,
  silu: true,
  softplus: true,
  maximum: true,
  lt: false,
  where: true,
  maskedFill: true,
  sum: true,
  'sum rows': true,
  'sum columns': true,
  mean: true,
  'max rows': true,
  'argmax rows': false,
  'argmax columns': false,
  'softmax rows': true,
  'softmax columns': true,
  'logSoftmax rows': true,
  matvec: true,
  transpose: true,
  'flip rows': true,
  'flip columns': true,
  'slice rows': true,
  'cat rows': true,
  'indexSelect 0': true,
  'indexSelect 1': true,
  'gather 1': true,
  'scatterAdd 1': true,
  'amax rows': true,
  'amax columns': true,
  'min columns': true,
  'var rows': true,
  'var columns': true,
  norm: true,
  'logsumexp rows': true,
  'prod rows': true,
  'cumsum rows': true,
  'cumsum columns': true,
  'sort rows': true,
  'argsort columns': false,
  'topk rows': true,
  tril: true,
  roll: true,
  repeat: true,
  'chunk columns': true,
  einsum: true,
  'at index pairs': true,
  arange: false,
  randint: false,
  multinomial: false,
  clone: true,
  data: false,
  rand: false,
  randn: false,
  'embedding step, SGD': false,
  'embedding step, SGD, dense': false,
  'embedding step, Adagrad': false,
  'embedding step, SparseAdam': false,
} as const
export type OperationName = keyof typeof differentiable

/** 256 KB, which the second-level cache holds, and 16 MB, of which a call has two or three. */
const SIZES = [256, 2048]

/** A step of training of a table, on the rows of 2048 look-ups among a million of 32. */
export function isStep(name: OperationName): boolean {
  return name.startsWith('embedding step')
}

export const operations: readonly Operation[] = SIZES.flatMap((size) =>
  (Object.keys(differentiable) as OperationName[])
    .filter((name) => size === SIZES[0] || !isStep(name))
    .flatMap((name) =>
      (differentiable[name] ? [false, true] : [false]).map((backward) => ({
        name,
        size,
        backward,
      })),
    ),
)

/** Ours beside PyTorch's on one operation. */
export interface OperationRow extends Operation {
  threads: number
  /** Microseconds a call. */
  ours: number
  pytorch: number
  /** Our speed over PyTorch's. */
  ratio: Spread
}

const SECONDS_PER_ROUND = 0.1

/** Times operations in interleaved rounds, one process each of ours and PyTorch's. */
export async function timeOperations(
  chosen: readonly Operation[],
  threads: number,
  rounds: number,
  report: (row: OperationRow) => void,
): Promise<void> {
  const root = join(import.meta.dirname, '..')
  const start = (name: EngineName, program: string): Promise<Peer> =>
    startEngine(engines[name], [JSON.stringify(chosen[0]), String(threads)], join(root, program))
  const peers = [
    await start('fused-rnn', 'dist-bench/peers/fused_rnn_ops.js'),
    await start('pytorch', 'bench/peers/pytorch_ops.py'),
  ] as const
  try {
    for (const operation of chosen) {
      const counts: number[] = []
      for (const peer of peers) {
        await peer.setUp(operation)
        await call(peer, 2)
        const took = (await call(peer, 3)) / 3
        counts.push(Math.min(5000, Math.max(2, Math.round(SECONDS_PER_ROUND / took))))
      }
      const times: [number[], number[]] = [[], []]
      for (let round = 0; round < rounds; round++) {
        for (const i of [0, 1] as const) {
          const count = counts[i] as number
          times[i].push((await call(peers[i], count)) / count)
        }
      }
      const [ours, pytorch] = times
      report({
        ...operation,
        threads,
        ours: 1e6 * spread(ours).median,
        pytorch: 1e6 * spread(pytorch).median,
        ratio: spread(ours.map((time, i) => (pytorch[i] as number) / time)),
      })
    }
  } finally {
    for (const peer of peers) peer.stop()
  }
}

async function call(peer: Peer, count: number): Promise<number> {
  return Number((await peer.ask('call', count)).seconds)
}

/** A row of the table. */
export function operationLine(row: OperationRow): string {
  const { name, size, backward, threads, ours, pytorch, ratio } = row
  const us = (time: number): string => time.toFixed(1).padStart(10)
  const times = `${us(ours)}${us(pytorch)}   ${ratio.median.toFixed(2).padStart(6)}`
  const what = `${name}${backward ? ', and gradient' : ''}`
  return `${what.padEnd(30)}${String(size).padStart(5)}${String(threads).padStart(3)}${times} (${ratio.min.toFixed(2)}–${ratio.max.toFixed(2)})`
}

export const OPERATION_HEAD = `${'operation'.padEnd(30)} size  threads, µs ours, PyTorch's, ours over PyTorch's (min–max)`
