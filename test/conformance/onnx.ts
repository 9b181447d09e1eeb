/** Files of ONNX with inputs and outputs: ONNX's own backend tests, and ONNX Runtime's. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onnx, type Tensor } from 'fused-rnn'
import {
  asTensor,
  compare,
  different,
  type Outcome,
  PASSED,
  read,
  runAll,
  type Stored,
  type Suite,
  values,
} from './suite.js'

interface OnnxCase {
  name: string
  /** The file, as base64. */
  model: string
  inputs: Stored[]
  outputs: Stored[]
  /** What ONNX Runtime says, where the call has to fail. */
  error?: string
}

async function run(one: OnnxCase, path: string, tolerance: number): Promise<Outcome> {
  writeFileSync(path, Buffer.from(one.model, 'base64'))
  let found: Tensor | Tensor[]
  try {
    const model = await onnx.load<Tensor | Tensor[]>(path)
    // Lengths are given as arrays: they decide about shapes.
    found = model.forward(
      ...one.inputs.map((x) => (x.dtype === 'int32' ? [...values(x)] : asTensor(x))),
    )
  } catch (error) {
    if (one.error !== undefined) return PASSED
    throw error
  }
  if (one.error !== undefined) return different(`no error where there is: ${one.error}`)
  const outputs = [found].flat()
  return compare(
    one.outputs.map((expected, i) => [`output ${i + 1}`, outputs[i], expected]),
    tolerance,
  )
}

async function suite(name: string, tolerance: number): Promise<Omit<Suite, 'about'>> {
  const { source, cases } = read<OnnxCase>(name)
  const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-conformance-'))
  try {
    const path = join(folder, 'model.onnx')
    const results = await runAll(cases, (one) => run(one, path, tolerance))
    return { title: `${source.name} ${source.version}`, results }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

export const onnxSuite = async (): Promise<Suite> => ({
  ...(await suite('onnx', 2e-5)),
  title: `ONNX ${read('onnx').source.version}: backend tests of LSTM, GRU and RNN`,
  about:
    'The files and numbers of `onnx.backend.test`, unchanged, through `onnx.load` and `forward`; and those of 1.12 (as in Debian’s libonnx-testdata) where they are not the same. Tolerance 2e-5.',
})

export const onnxRuntimeSuite = async (): Promise<Suite> => ({
  ...(await suite('onnxruntime', 1e-4)),
  title: `ONNX Runtime ${read('onnxruntime').source.version}: operator tests of LSTM, GRU and RNN`,
  about:
    'The cases of its three C++ test files for these operators, each as an ONNX file, through `onnx.load` and `forward`; a number in brackets counts the runs of one test. Tolerance 1e-4, which is its own for LSTM.',
})
