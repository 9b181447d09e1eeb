/** Collectives over numbers, plain JSON and tensors of unlike sizes, for the Trainer. */
import { binding, Reduce } from '../binding.js'
import { tensor } from '../factories.js'
import type { Tensor } from '../tensor.js'
import { attempt } from './group.js'

/** On the CPU, whatever the default device is. */
function onCpu(values: Int32Array | Float32Array): Tensor {
  return tensor(values, { device: 'cpu' })
}

/** The maximum over all processes, value by value. */
export async function allReduceMax(fn: string, values: readonly number[]): Promise<number[]> {
  const all = onCpu(Float32Array.from(values))
  attempt(fn, () => binding.allReduce(all.buffer, Reduce.max, false))
  const result = [...(await all.data())]
  all[Symbol.dispose]()
  return result
}

/**
 * The values of every process in double precision, in the order of the ranks. All processes give the
 * same number of values.
 */
export async function allGatherNumbers(fn: string, values: readonly number[]): Promise<number[][]> {
  const bytes = onCpu(new Int32Array(Float64Array.from(values).buffer))
  const all = attempt(fn, () => binding.allGather(bytes.buffer))
  const read = (await binding.read(all)) as Int32Array
  binding.release(all)
  bytes[Symbol.dispose]()
  const numbers = new Float64Array(read.slice().buffer)
  const count = values.length
  return Array.from({ length: numbers.length / count }, (_, rank) => [
    ...numbers.subarray(rank * count, (rank + 1) * count),
  ])
}

/** Rank 0's value, which is plain JSON, in all processes. */
export async function broadcastJson<T>(fn: string, value: T, rank: number): Promise<T> {
  const text = rank === 0 ? Buffer.from(JSON.stringify(value)) : Buffer.alloc(0)
  const [length] = (await allGatherNumbers(fn, [text.length]))[0] as [number]
  const words = new Int32Array(Math.ceil(length / 4))
  if (rank === 0) Buffer.from(words.buffer).set(text)
  const all = onCpu(words)
  attempt(fn, () => binding.broadcast(all.buffer, 0))
  const read = (await all.data()) as Int32Array
  all[Symbol.dispose]()
  return JSON.parse(Buffer.from(read.buffer, 0, length).toString()) as T
}

/**
 * The tensors of all processes, concatenated along a dimension, in which they may differ in size. The
 * other dimensions and the number of tensors have to be the same.
 * @returns per tensor the values and the shape
 */
export async function allGatherConcat(
  fn: string,
  tensors: readonly Tensor[],
  dimOf: (x: Tensor) => number,
): Promise<{ values: Float32Array; shape: number[] }[]> {
  const sizes = await allGatherNumbers(
    fn,
    tensors.map((x) => x.shape[dimOf(x)] as number),
  )
  const result: { values: Float32Array; shape: number[] }[] = []
  for (const [i, x] of tensors.entries()) {
    const dim = dimOf(x)
    const widths = sizes.map((own) => own[i] as number)
    const inner = x.shape.slice(dim + 1).reduce((product, n) => product * n, 1)
    const outer = x.shape.slice(0, dim).reduce((product, n) => product * n, 1)
    const most = Math.max(...widths) * inner * outer
    const padded = new Float32Array(most)
    padded.set((await x.data()) as Float32Array)
    const own = onCpu(padded)
    const buffer = attempt(fn, () => binding.allGather(own.buffer))
    const all = (await binding.read(buffer)) as Float32Array
    binding.release(buffer)
    own[Symbol.dispose]()
    const total = widths.reduce((sum, n) => sum + n, 0)
    const values = new Float32Array(outer * total * inner)
    for (let o = 0; o < outer; o++) {
      let at = o * total * inner
      for (const [rank, width] of widths.entries()) {
        const from = rank * most + o * width * inner
        values.set(all.subarray(from, from + width * inner), at)
        at += width * inner
      }
    }
    result.push({ values, shape: x.shape.map((n, d) => (d === dim ? total : n)) })
  }
  return result
}
