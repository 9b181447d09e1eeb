/** What the peers in Node share: the protocol's lines and the clocks. See protocol.md. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Workload } from '../workloads.js'

/** What a peer can do with one workload, once it is set up. */
export interface Requests {
  /** What it really uses. */
  threads: number
  /** Trains this many steps. */
  train(steps: number): Promise<{ seconds: number; loss?: number }>
  /** Computes the batch this many times, without gradients. */
  infer?(batches: number): Promise<{ seconds: number }>
  /** Makes this many calls of a single operation. */
  call?(count: number): Promise<{ seconds: number }>
  /** Generates this many tokens, one at a time, at batch 1. */
  generate?(tokens: number): Promise<{ microseconds: number[] }>
}

/** A peer need not know all of them. */
type Answers = Pick<Requests, 'threads'> & Partial<Requests>

/** What a set-up throws for a workload that its framework cannot do. */
export class Unable extends Error {}

const print = (answer: object): void => console.log(JSON.stringify(answer))

/** Answers the runner, until the end of its input. */
export async function serve(
  ready: string,
  setUp: (w: Workload, threads: number, mode: string) => Answers | Promise<Answers>,
): Promise<void> {
  const [workload = '--version', threads = '1', mode = ''] = process.argv.slice(2)
  if (workload === '--version') return print({ ready })
  let requests: Answers | null = null
  const prepare = async (w: Workload): Promise<object> => {
    try {
      requests = await setUp(w, Number(threads), mode)
      return { ready, threads: requests.threads }
    } catch (error) {
      return refusal(error)
    }
  }
  print(await prepare(JSON.parse(workload) as Workload))
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, what] = Object.entries(JSON.parse(line))[0] as [string, unknown]
    if (name === 'set_up') {
      print(await prepare(what as Workload))
      continue
    }
    const request = name as Exclude<keyof Requests, 'threads'>
    try {
      const answer = await (requests as Answers | null)?.[request]?.(what as number)
      print(answer ?? { unable: `no ${name} here` })
    } catch (error) {
      print(refusal(error))
    }
  }
}

/** The answer to what failed, in one line. */
function refusal(error: unknown): object {
  if (!(error instanceof Error)) throw error
  return { unable: error.message.replace(/\s*\n\s*/g, ' ') }
}

/** How long something took, and the loss that it may have given. */
export async function seconds(
  run: () => Promise<unknown>,
): Promise<{ seconds: number; loss?: number }> {
  const begin = process.hrtime.bigint()
  const loss = await run()
  const took = Number(process.hrtime.bigint() - begin) / 1e9
  return typeof loss === 'number' ? { seconds: took, loss } : { seconds: took }
}

/** How long each of `count` calls took. */
export async function microseconds(
  count: number,
  run: () => Promise<void>,
): Promise<{ microseconds: number[] }> {
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const begin = process.hrtime.bigint()
    await run()
    times.push(Number(process.hrtime.bigint() - begin) / 1e3)
  }
  return { microseconds: times }
}

/** From FUSED_RNN_PEERS, a folder with node_modules, if it is set; and from here. */
const requires = [process.env.FUSED_RNN_PEERS, import.meta.dirname]
  .filter((folder) => folder !== undefined)
  .map((folder) => createRequire(join(folder, 'peer.js')))

/** A package that may not be installed, or null. */
export function optional<T>(name: string): T | null {
  for (const require of requires) {
    try {
      return require(name) as T
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    }
  }
  return null
}

/** The version of an installed package. */
export function version(name: string): string {
  return optional<{ version: string }>(`${name}/package.json`)?.version ?? ''
}

/** Says that a package is not there, and ends. */
export function missing(name: string): never {
  print({ missing: name })
  process.exit(0)
}
