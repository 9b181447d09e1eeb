// Does the test of the CUDA backend bite? Makes one mistake after another in a copy of the kernels,
// and expects the native test to fail each time: `npm run test:mutations` (half an hour on two
// cores); after `--`, words of what is made wrong, to make only those mistakes. `--check` makes none,
// and says whether each has its place in the sources.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { forgetOtherClone } from './build-folder.mjs'

const root = join(import.meta.dirname, '..')
const tree = join(root, 'build/mutations/tree')
const build = join(root, 'build/mutations/build')

// For the kernels of the widest layers (native/test/cases_whole_loop.cpp).
const wide = { FUSED_RNN_CUDA_PATH: 'persistent', FUSED_RNN_CUDA_HOST_MULTIPROCESSORS: '132' }

/** What is made wrong, where, and which cases of the test have to notice (of `backends`, usually). */
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
    file: 'device/runtime.h',
    from: 'if (lane == 0) scratch[warp] = x;\n  __syncthreads();',
    to: 'if (lane == 0) scratch[warp] = x;',
    cases: 'grad_norm',
  },
  {
    what: 'swapped gates',
    file: 'rnn/steps_forward.cu',
    from: 's += product[kGate * a.hidden + unit]',
    to: 's += product[(Cell::kGates - 1 - kGate) * a.hidden + unit]',
    cases: 'GRU, equal, layers 1',
  },
  {
    what: 'a sequence that has ended goes on',
    file: 'rnn/steps_forward.cu',
    from: 'const bool goes_on = r < a.going_on;',
    to: 'const bool goes_on = r <= a.going_on;',
    cases: 'LSTM, packed, layers 1',
  },
  {
    what: 'a dropped barrier between the halves of a transposition',
    file: 'rnn/loop_parts.cu',
    from: '* ld_in + column0 + x];\n      }\n    }\n    __syncthreads();',
    to: '* ld_in + column0 + x];\n      }\n    }',
    cases: 'GRU, wider, one-hot',
  },
  {
    what: 'a direction that does not wait for what comes before it',
    file: 'rnn/schedule.cpp',
    from: 'if (both) beside.fork();',
    to: '',
    cases: 'GRU, one step, layers 2',
  },
  {
    what: 'a layer that does not wait for the one that feeds it',
    file: 'rnn/schedule.cpp',
    from: 'device.order(stream_of(k - 1).stream, on.stream);',
    to: '',
    cases: 'GRU, long, layers 3, directions 1',
  },
  {
    what: "a dropped barrier before the warps' sums are added up",
    file: 'rnn/persistent_forward.cu',
    from: '      __syncthreads();\n      if (!has_element) continue;',
    to: '      if (!has_element) continue;',
    cases: 'whole loop: GRU, unit tiles, ieee',
  },
  {
    what: 'states of the upper half of a tile that are not waited for',
    file: 'rnn/persistent_forward.h',
    from: 'ready(low[pair]) && ready(high[pair])',
    to: 'ready(low[pair])',
    cases: 'whole loop: GRU, unit tiles, ieee',
  },
  {
    what: 'rows of a tile in the wrong place of a fragment',
    file: 'rnn/persistent_forward.h',
    from: 'a[p][1] = h.word[2 * i].term[p];',
    to: 'a[p][1] = l.word[2 * i].term[p];',
    cases: 'whole loop: LSTM, unit tiles, tf32',
  },
  {
    what: 'the states of the first tile for every tile',
    file: 'rnn/persistent_forward.cu',
    from: '(current.row + block.first_row + tile * kTileRows) * args.hidden',
    to: '(current.row + block.first_row) * a.hidden',
    cases: 'whole loop: LSTM, row tiles, packed, ieee',
  },
  {
    what: 'outputs of the last tile only',
    file: 'rnn/persistent_forward.cu',
    from: 'if (tile + 1 < tiles) store(row);',
    to: '',
    cases: 'whole loop: LSTM, row tiles, packed, ieee',
  },
  {
    what: 'a packed sequence that has ended goes on in the kernel',
    file: 'rnn/persistent_forward.cu',
    from: 'const bool has_next = sequence_of_group < rows_with_next;',
    to: 'const bool has_next = sequence_of_group <= rows_with_next;',
    cases: 'whole loop: LSTM, groups, packed, ieee',
  },
  {
    what: "gates' gradients that are written over while they are read",
    file: 'rnn/persistent_backward.cu',
    from: '__syncthreads();  // the gradients before have been read',
    to: '',
    cases: 'whole loop: GRU, row tiles, packed, ieee',
  },
  {
    what: "a dropped barrier before the gates' gradients are multiplied",
    file: 'rnn/persistent_backward.cu',
    from: '      __syncthreads();\n\n      // (5)',
    to: '      // (5)',
    cases: 'whole loop: GRU, unit tiles, ieee',
  },
  {
    what: 'partial sums of another step are taken for those of this one',
    file: 'rnn/handoff.h',
    from: 'tag_of(pair.x) == tag && tag_of(pair.y) == tag',
    to: 'tag_of(pair.x) != 0 && tag_of(pair.y) != 0',
    cases: 'whole loop: GRU, unit tiles, ieee',
  },
  {
    what: 'partial sums are left in the half of the step before',
    file: 'rnn/persistent_backward.h',
    from: 'return (tag % 2 != 0 ? 0 : half_)',
    to: 'return (tag % 2 != 0 ? half_ : 0)',
    cases: 'whole loop: GRU, unit tiles, ieee',
  },
  {
    what: 'partial sums that are written over before they are read',
    file: 'rnn/persistent_backward.h',
    from: 'half_(a.groups * a.unit_tiles * of_tile_)',
    to: 'half_(0)',
    cases: 'whole loop: GRU, row tiles, packed, ieee',
  },
  {
    what: 'the partial sum of the unit beside it',
    file: 'rnn/persistent_backward.h',
    from: 'return own.adder == 0 ? x : y;',
    to: 'return own.adder == 0 ? y : x;',
    cases: 'whole loop: GRU, unit tiles, ieee',
  },
  {
    what: 'adders whose sums are not added up',
    file: 'rnn/persistent_backward.h',
    from: 'for (int apart = Thread::kLanesApart; apart < kWarp; apart *= 2)',
    to: 'for (int apart = 2 * Thread::kLanesApart; apart < kWarp; apart *= 2)',
    cases: 'whole loop: GRU, unit tiles, ieee',
  },
  {
    what: 'the gradient of the last state at every step',
    file: 'rnn/persistent_backward.h',
    from: 'e.dh_end = !later && d.dhn',
    to: 'e.dh_end = d.dhn',
    cases: 'whole loop: LSTM, groups, packed, ieee',
  },
  {
    what: 'partial sums for unit tiles that there are not',
    file: 'rnn/persistent_backward.cu',
    from: 'if (columns >= column_tiles) return;',
    to: '',
    cases: 'whole loop: LSTM, groups, packed, ieee',
  },
  {
    what: 'a gradient of the first state without the last partial sums',
    file: 'rnn/persistent_backward.h',
    from: 'to = sum + (Cell::kDirectH ? to : 0.0f);',
    to: 'to = Cell::kDirectH ? to : 0.0f;',
    cases: 'whole loop: GRU, unit tiles, ieee',
  },
  {
    what: 'the numbers of a word in bfloat16 are swapped on one side of a product',
    file: 'rnn/mma.h',
    from: 'term[0] = round_to_bf16(x) | static_cast<uint32_t>(round_to_bf16(y)) << 16;',
    to: 'term[0] = round_to_bf16(y) | static_cast<uint32_t>(round_to_bf16(x)) << 16;',
    cases: 'whole loop: LSTM, unit tiles, bf16',
  },
  {
    what: 'the second term of a number is left out',
    file: 'rnn/mma.h',
    from: 'term[1] = round_to_tf32(x - float_of(term[0]));',
    to: 'term[1] = 0;',
    cases: 'whole loop: LSTM, unit tiles, ieee',
  },
  {
    what: 'a number that is there as soon as half of it is',
    file: 'rnn/handoff.h',
    from: 'bits_of(x.y) != kEmpty && bits_of(x.z) != kEmpty &&\n         bits_of(x.w) != kEmpty',
    to: 'bits_of(x.y) != kEmpty',
    cases: 'whole loop: GRU, unit tiles, ieee',
  },
  {
    what: 'weights in shared memory that are those of another lane',
    file: 'rnn/persistent_kernels.h',
    from: 'shared_ = tiles + threadIdx.x;',
    to: 'shared_ = tiles + threadIdx.x / 2;',
    cases: 'wide loop: LSTM, 800, bf16',
    env: wide,
  },
  {
    what: 'weights in shared memory in the place of others',
    file: 'rnn/persistent_kernels.h',
    from: 'shared_[(tile - Config::kHeldTiles) * kPersistentThreads]',
    to: 'shared_[(tile - Config::kHeldTiles) / 2 * kPersistentThreads]',
    cases: 'wide loop: LSTM, 800, bf16',
    env: wide,
  },
  {
    what: 'a kernel that was refused is tried again',
    file: 'rnn/schedule.cpp',
    from: 'device.refused.insert(e.kernel);',
    to: '',
    program: 'failures',
    cases: 'GRU, one-hot',
  },
]

function compile() {
  const jobs = String(availableParallelism())
  const args = ['--build', build, '--target', 'backends', 'failures', '--parallel', jobs]
  const { status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`the copy does not compile:\n${stdout}${stderr}`)
}

/** Whether the cases pass. A crash or a hang is a failure, too. */
function passes({ program = 'backends', cases, env = {} }) {
  const { status } = spawnSync(join(build, 'cuda-host', program), [cases], {
    env: { ...process.env, ...env },
    // For what hangs; they take a quarter of a minute.
    timeout: 1_200_000,
  })
  return status === 0
}

/** The mistakes whose place in the sources is not there, or more than once. */
const lost = mutations.filter(({ file, from }) => {
  const source = readFileSync(join(root, 'native/cuda', file), 'utf8')
  return source.split(from).length !== 2
})
for (const { what, file } of lost) console.log(`✘ ${file}: no one place for '${what}'`)
if (process.argv.includes('--check')) process.exit(lost.length === 0 ? 0 : 1)

mkdirSync(tree, { recursive: true })
for (const part of ['native', 'test/embed', 'CMakeLists.txt', 'package.json']) {
  cpSync(join(root, part), join(tree, part), { recursive: true, preserveTimestamps: true })
}
forgetOtherClone(build, tree)
const config = ['-S', tree, '-B', build, '-DFUSED_RNN_CUDA=host', '-DCMAKE_BUILD_TYPE=Release']
execFileSync('cmake', config, { cwd: root, stdio: 'ignore' })
compile()
const words = process.argv.slice(2)
const chosen = mutations.filter(
  ({ what }) => words.length === 0 || words.some((word) => what.includes(word)),
)
let failed = 0
for (const mutation of new Map(chosen.map((mutation) => [mutation.cases, mutation])).values()) {
  if (passes(mutation)) continue
  failed++
  console.log(`✘ the cases '${mutation.cases}' fail without any mistake`)
}
let passed = 0
for (const mutation of chosen) {
  const { what, file, from, to } = mutation
  const path = join(tree, 'native/cuda', file)
  const source = readFileSync(path, 'utf8')
  if (lost.includes(mutation)) {
    failed++
    continue
  }
  writeFileSync(path, source.replace(from, to))
  compile()
  const noticed = !passes(mutation)
  writeFileSync(path, source)
  noticed ? passed++ : failed++
  console.log(`${noticed ? '✔ noticed' : '✘ not noticed'}: ${what} (${file})`)
}
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
