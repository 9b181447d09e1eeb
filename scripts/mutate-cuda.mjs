// Does the test of the CUDA backend bite? Makes one mistake after another in a copy of the kernels,
// and expects the native test to fail each time: `npm run test:mutations` (minutes).
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const tree = join(root, 'build/mutations/tree')
const build = join(root, 'build/mutations/build')

/** What is made wrong, where, and which cases of the test have to notice. */
const mutations = [
  {
    what: 'an index off by one',
    file: 'reduce.cu',
    from: 'const int64_t end = min(rows, (part + 1) * kPartRows);',
    to: 'const int64_t end = min(rows - 1, (part + 1) * kPartRows);',
    cases: 'sum',
  },
  {
    what: 'a dropped barrier before the lines of a block are added up',
    file: 'reduce.cu',
    from: 'lines[threadIdx.y * kWarp + threadIdx.x] = sum;\n    __syncthreads();',
    to: 'lines[threadIdx.y * kWarp + threadIdx.x] = sum;',
    cases: 'sum',
  },
  {
    what: 'a dropped barrier in the reduction that losses and norms share',
    file: 'runtime.h',
    from: 'if (lane == 0) scratch[warp] = x;\n  __syncthreads();',
    to: 'if (lane == 0) scratch[warp] = x;',
    cases: 'grad_norm',
  },
  {
    what: 'swapped gates',
    file: 'steps_forward.cu',
    from: 's += product[kGate * a.hidden + unit]',
    to: 's += product[(Cell::kGates - 1 - kGate) * a.hidden + unit]',
    cases: 'GRU, equal, layers 1',
  },
  {
    what: 'a sequence that has ended goes on',
    file: 'steps_forward.cu',
    from: 'const bool goes_on = r < a.going_on;',
    to: 'const bool goes_on = r <= a.going_on;',
    cases: 'LSTM, packed, layers 1',
  },
  {
    what: 'a dropped barrier between the halves of a transposition',
    file: 'sequence_parts.cu',
    from: '* ld_in + column0 + x];\n      }\n    }\n    __syncthreads();',
    to: '* ld_in + column0 + x];\n      }\n    }',
    cases: 'GRU, wider, one-hot',
  },
  {
    what: 'a direction that does not wait for what comes before it',
    file: 'layer_loop.cpp',
    from: 'if (both) beside.fork();',
    to: '',
    cases: 'GRU, one step, layers 2',
  },
  {
    what: 'a layer that does not wait for the one that feeds it',
    file: 'layer_loop.cpp',
    from: 'device.order(lane_of(k - 1).stream, lane.stream);',
    to: '',
    cases: 'GRU, long, layers 3, directions 1',
  },
]

function compile() {
  const jobs = String(availableParallelism())
  const args = ['--build', build, '--target', 'backends', '--parallel', jobs]
  const { status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`the copy does not compile:\n${stdout}${stderr}`)
}

/** Whether the cases pass. A crash or a hang is a failure, too. */
function passes(cases) {
  const { status } = spawnSync(join(build, 'cuda-host/backends'), [cases], { timeout: 240_000 })
  return status === 0
}

mkdirSync(tree, { recursive: true })
for (const part of ['native', 'CMakeLists.txt', 'package.json']) {
  cpSync(join(root, part), join(tree, part), { recursive: true, preserveTimestamps: true })
}
const config = ['-S', tree, '-B', build, '-DFUSED_RNN_CUDA=host', '-DCMAKE_BUILD_TYPE=Release']
execFileSync('cmake', config, { cwd: root, stdio: 'ignore' })
compile()
let failed = 0
for (const cases of new Set(mutations.map((mutation) => mutation.cases))) {
  if (passes(cases)) continue
  failed++
  console.log(`✘ the cases '${cases}' fail without any mistake`)
}
let passed = 0
for (const { what, file, from, to, cases } of mutations) {
  const path = join(tree, 'native/cuda', file)
  const source = readFileSync(path, 'utf8')
  if (source.split(from).length !== 2) {
    failed++
    console.log(`✘ ${file}: what '${what}' would replace is not there just once`)
    continue
  }
  writeFileSync(path, source.replace(from, to))
  compile()
  const noticed = !passes(cases)
  writeFileSync(path, source)
  noticed ? passed++ : failed++
  console.log(`${noticed ? '✔ noticed' : '✘ not noticed'}: ${what} (${file})`)
}
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
