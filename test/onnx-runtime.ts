/**
 * What exported models are compared with: ONNX Runtime, in a process of its own. Only one thread of a
 * process can load it, and test files are threads.
 */
import { fork } from 'node:child_process'
import test, { type ExecutionContext } from 'ava'
import { type nn, onnx, type Tensor } from 'fused-rnn'
import { closeTo } from './helpers.js'
import type { Answer, Request, Values } from './onnx-runtime-child.js'

const child = fork(new URL('./onnx-runtime-child.js', import.meta.url), {
  serialization: 'advanced',
  execArgv: [],
})
const waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>()
/** False where it has no binary for the platform. */
const ready = await new Promise<boolean>((resolve) => {
  child.on('message', (answer: Answer) => {
    if ('ready' in answer) return resolve(answer.ready)
    const call = waiting.get(answer.id)
    waiting.delete(answer.id)
    keepAlive(waiting.size > 0)
    if ('error' in answer) call?.reject(new Error(answer.error))
    else call?.resolve(answer)
  })
  child.on('exit', (code, signal) => {
    resolve(false)
    for (const { reject } of waiting.values())
      reject(new Error(`ONNX Runtime ended with ${signal ?? `code ${code}`}`))
  })
})
test.after.always(() => child.kill('SIGKILL'))

/** Hooks run only where a test does: a file of skipped ones is not to wait for its process for ever. */
function keepAlive(needed: boolean): void {
  for (const handle of [child, child.channel]) handle?.[needed ? 'ref' : 'unref']()
}
keepAlive(false)

/** A test of what is exported. */
export const run = ready ? test.serial : test.skip
/** For its title. */
export const why = ready ? '' : ' (skipped: onnxruntime-node does not load on this platform)'

const TOLERANCE = 1e-5
let calls = 0

type Call = Request extends infer One ? (One extends Request ? Omit<One, 'id'> : never) : never

async function ask(call: Call): Promise<Answer> {
  const id = ++calls
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject })
    keepAlive(true)
    child.send({ ...call, id } as Request, (error) => error && reject(error))
  })
}

/** A model in ONNX Runtime. */
export interface Session {
  inputNames: readonly string[]
  outputNames: readonly string[]
  run(feeds: Record<string, Values>): Promise<Record<string, Values>>
}

/** An exported model, or a file. */
export async function session(model: nn.Module | string): Promise<Session> {
  const file = typeof model === 'string' ? model : await onnx.serialize(model)
  const { session, ...names } = (await ask({ model: file })) as Answer & {
    session: number
  } & Session
  return {
    inputNames: names.inputNames,
    outputNames: names.outputNames,
    run: async (feeds) => {
      const { outputs } = (await ask({ session, feeds })) as Answer & {
        outputs: Record<string, Values>
      }
      return outputs
    },
  }
}

export type Named = Record<string, Tensor>

async function feed(inputs: Named): Promise<Record<string, Values>> {
  const entries = Object.entries(inputs).map(async ([name, value]) => {
    const data = (await value.data()) as Values['data']
    return [name, { type: value.dtype, data, dims: value.shape }] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}

/** Runs both and compares every output. */
export async function same(
  t: ExecutionContext,
  where: Session,
  inputs: Named,
  expected: Named,
  what: string,
  tolerance = TOLERANCE,
): Promise<void> {
  t.deepEqual([...where.inputNames], Object.keys(inputs), what)
  t.deepEqual([...where.outputNames], Object.keys(expected), what)
  const outputs = await where.run(await feed(inputs))
  for (const [name, value] of Object.entries(expected)) {
    const found = outputs[name] as Values
    t.deepEqual([...found.dims], [...value.shape], `${what}: shape of ${name}`)
    await closeTo(t, found.data as Float32Array, value, tolerance, `${what}: ${name}`)
  }
}
