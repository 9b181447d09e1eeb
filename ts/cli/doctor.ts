/** `fused-rnn doctor`: what this machine has, and whether it works. */
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { CudaInfo } from '../binding.js'
import { libc } from '../platforms.js'
import { UserError } from './errors.js'
import { duration, plural } from './format.js'
import type { Check } from './self_test.js'

/** What all self-tests may take together, in seconds. */
const SECONDS = 10

/** @throws UserError when something that is needed is missing or wrong; Error without an addon */
export async function doctor(): Promise<void> {
  const packageFile = new URL('../../package.json', import.meta.url)
  say('fused-rnn', JSON.parse(readFileSync(packageFile, 'utf8')).version)
  say('folder', fileURLToPath(new URL('.', packageFile)))
  const library = libc() ?? []
  say(
    'Node',
    [process.versions.node, `${process.platform} ${process.arch}`].concat(library).join(', '),
  )
  const processors = cpus()
  say('processor', `${processors[0]?.model ?? 'unknown'}, ${plural(processors.length, 'core')}`)

  // Not earlier: this needs the addon.
  const { addonFile, binding } = await import('../binding.js')
  const { backends, devices } = await import('../index.js')
  const { isa, isas, bf16, int8, features, threads, threadsWhy } = binding.info()
  say('addon', addonFile)
  say('features', features.join(' ') || 'none that matter here')
  const forced = process.env.FUSED_RNN_ISA ? ', by FUSED_RNN_ISA' : ''
  say('kernels', `${isa}${forced} (this processor can run ${isas.join(', ')})`)
  const faster = features.includes('avx512bf16') && !forced ? ', which are faster here' : ''
  const emulated = `by ${bf16}'s float32 instructions${faster}`
  say('bfloat16', bf16 === 'avx512bf16' ? 'by AVX512-BF16' : emulated)
  say('int8', int8 === 'avx512vnni' ? 'by AVX512-VNNI' : `by ${int8}'s products of 16 bits`)
  say('threads', `${threads} (${threadsWhy})`)
  const cuda = binding.cuda()
  say('CUDA', describeCuda(cuda))
  if (cuda.runtime !== '') say('cuBLAS', binding.cublasMissing() || 'found')
  if (cuda.runtime !== '') say('NCCL', binding.ncclMissing() || 'found')
  const { missing, version } = binding.mpi()
  say('MPI', missing || version)
  for (const { name, description, memoryBytes, computeCapability } of devices()) {
    const memory = memoryBytes === undefined ? [] : [`${Math.round(memoryBytes / 2 ** 30)} GiB`]
    const capability = computeCapability
      ? [`compute capability ${computeCapability.join('.')}`]
      : []
    say(name, [description, ...memory, ...capability].join(', '))
  }

  // The tolerances are those of float32.
  backends.cuda.rnn.fp32Precision = 'ieee'
  const failed = await testAll(devices().map(({ name }) => name))
  if (failed > 0) throw new UserError(`${plural(failed, 'self-test')} failed`)
  process.stdout.write('\nEverything works.\n')
}

/** All devices, and all tests of each, one after the other. */
async function testAll(names: readonly string[]): Promise<number> {
  const { checkGradients, checkTraining, subjects } = await import('./self_test.js')
  const start = performance.now()
  let failed = 0
  for (const [index, on] of names.entries()) {
    const report = async (check: Promise<Check>): Promise<void> => {
      const begin = performance.now()
      const { name, ok, detail } = await check.catch((error) => ({
        name: 'self-test',
        ok: false,
        detail: error instanceof Error ? error.message : String(error),
      }))
      if (!ok) failed++
      const seconds = duration((performance.now() - begin) / 1000)
      say('self-test', `${ok ? 'ok    ' : 'FAILED'} ${on}, ${name}: ${detail} (${seconds})`)
    }
    const left = SECONDS - (performance.now() - start) / 1000
    await report(checkTraining(on, left / (names.length - index) / 2))
    for (const subject of subjects(on)) await report(checkGradients(on, subject))
  }
  return failed
}

function describeCuda({ runtime, driver, devices, missing }: CudaInfo): string {
  if (runtime === '') return 'not built into this addon'
  const found = `runtime ${runtime} inside, ${driver === '' ? 'no driver' : `driver for ${driver}`}`
  return devices.length > 0 ? found : `${found}: ${missing}`
}

function say(what: string, text: string): void {
  process.stdout.write(`${what.padEnd(11)}${text}\n`)
}
