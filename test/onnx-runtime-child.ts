/** A process with ONNX Runtime, for onnx-runtime.ts. */
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-common'

type Ort = typeof import('onnxruntime-common')

/** Values of a tensor, as they go from process to process. */
export interface Values {
  type: string
  data: OrtTensor['data']
  dims: readonly number[]
}
export type Request = { id: number } & (
  | { model: string | Uint8Array }
  | { session: number; feeds: Record<string, Values> }
)
export type Answer =
  | { ready: boolean }
  | { id: number; error: string }
  | { id: number; session: number; inputNames: string[]; outputNames: string[] }
  | { id: number; outputs: Record<string, Values> }

/** Its types are in the other package. */
const runtime: string = 'onnxruntime-node'
/** Null where it has no binary for the platform. */
const ort: Ort | null = await import(runtime).then(
  (module) => module.default,
  () => null,
)
const sessions: InferenceSession[] = []
const send = (answer: Answer): void => void process.send?.(answer)

async function answer(request: Request): Promise<Answer> {
  const { id } = request
  const { InferenceSession, Tensor } = ort as Ort
  if ('model' in request) {
    const made = await InferenceSession.create(request.model as string, { logSeverityLevel: 3 })
    const session = sessions.push(made) - 1
    return { id, session, inputNames: [...made.inputNames], outputNames: [...made.outputNames] }
  }
  const tensors = Object.entries(request.feeds).map(
    ([name, { type, data, dims }]) =>
      [name, new Tensor(type as 'float32', data as Float32Array, dims)] as const,
  )
  const session = sessions[request.session] as InferenceSession
  const found = Object.entries(await session.run(Object.fromEntries(tensors)))
  const outputs = found.map(([name, { type, data, dims }]) => [name, { type, data, dims }] as const)
  return { id, outputs: Object.fromEntries(outputs) }
}

process.on('message', (request: Request) => {
  answer(request).then(send, (error: Error) => send({ id: request.id, error: error.message }))
})
process.on('disconnect', () => process.exit())
send({ ready: ort !== null })
