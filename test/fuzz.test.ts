/** What fuzzing (`npm run fuzz`) has found so far, once more. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { onCpu } from './helpers.js'

const program = fileURLToPath(new URL('./fuzz/main.js', import.meta.url))

// What is read goes through the CPU on every device.
for (const target of [
  'safetensors',
  'model',
  'checkpoint',
  'texts',
  'lock',
  'torch',
  'pickle',
  'tfjs',
  'keras',
  'hdf5',
  'onnx',
])
  (onCpu ? test.serial : test.serial.skip)(
    `inputs that fuzzing has found: ${target}`,
    async (t) => {
      const { stdout } = await promisify(execFile)(process.execPath, [
        program,
        '--seconds=0',
        target,
      ])
      t.regex(stdout, /0 runs in 0 s/)
    },
  )
