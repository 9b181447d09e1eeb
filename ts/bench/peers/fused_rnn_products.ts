/** Our rate of matrix products, for the limit of the machine (limit.ts). */
import { createInterface } from 'node:readline'
import { getNumThreads, rand, setNumThreads, synchronize } from '../../index.js'
import { chooseDevice } from './fused_rnn_device.js'

const BURST = 0.02

async function product(sizes: [m: number, k: number, n: number], seconds: number): Promise<number> {
  const [m, k, n] = sizes
  using a = rand([m, k])
  using b = rand([k, n])
  const burst = async (count: number): Promise<number> => {
    const begin = performance.now()
    for (let i = 0; i < count; i++) {
      using _ = a.matmul(b)
    }
    await synchronize()
    return (performance.now() - begin) / 1e3 / count
  }
  await burst(1)
  const count = Math.max(1, Math.round(BURST / (await burst(2))))
  let best = await burst(count)
  for (const end = performance.now() + 1e3 * seconds; performance.now() < end; ) {
    best = Math.min(best, await burst(count))
  }
  return (2e-9 * m * k * n) / best
}

chooseDevice()
setNumThreads(Number(process.argv[3]))
console.log(JSON.stringify({ ready: 'fused-rnn', threads: getNumThreads() }))
for await (const line of createInterface({ input: process.stdin })) {
  const { sizes, seconds } = JSON.parse(line).product
  console.log(JSON.stringify({ gflops: await product(sizes, seconds) }))
}
