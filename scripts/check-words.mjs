// Keeps the project's vocabulary: one word, one meaning. Words that were given up do not come back.
// Each entry: a pattern, the word to use, and where it holds (code: native, ts, test, bench, scripts;
// text: also the pages). `npm run lint` calls it.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

const NATIVE = /^(native|test\/embed|examples\/(cpp|addon))\//
const SCRIPT = /^(ts|test|bench|scripts|examples)\/.*\.(ts|mjs)$/
const ANY = /./

/** [what was given up, what is said instead, where] */
const WORDS = [
  [/\bLanePlace\b/, 'WarpLane', NATIVE],
  [/\bPlace\b/, 'Executor (engine), BlockTile (cuda)', NATIVE],
  [/\bLane\b/, 'LaunchStream', NATIVE],
  [/\bDivision\b|\bpersistent_division\b/, 'Tiling', NATIVE],
  [/\bk?Shares?\b/, 'KernelConfig, kKernelConfigs', /^native\/cuda\//],
  [/\bWay\b|\bway\(/, 'LoopPath', NATIVE],
  [/\bkAbsent\b/, 'kEmpty', NATIVE],
  [
    /\bask_again\b|\barrived\(|\bannounced?\b|\barrivals\.h\b/,
    'poll, spin, ready, publish (handoff.h)',
    ANY,
  ],
  [/\brnn_team\b|\bteams?\b/i, 'ThreadGroup, threads (native); DdpStrategy, processes (ts)', ANY],
  [/\bWorld\b/, 'ProcessGroup', NATIVE],
  [
    /\beverybodys\b|\bsideBySide\b|\bfromFirst\b/,
    'allGatherNumbers, allGatherConcat, broadcastJson',
    SCRIPT,
  ],
  [/\bwaves?\b(?!front)/i, 'chunk', /^native\/cuda\//],
  [
    /\bscript['’]s\b|\b(the|in|a|of|where a) script\b(?! (that|beside|with|in|which|makes|for|of|its|and))/i,
    'JavaScript, the JavaScript thread',
    /^(native|ts)\//,
  ],
  [/\byoung_garbage\b/, 'minor_gc', ANY],
  [/\btelephones?\b/i, 'phone', ANY],
  [/\bwhoever\b|\bwhosoever\b/i, 'name who it is', ANY],
  [/\bso (many|much) (steps|of them)\b/i, 'N steps', ANY],
]

/** Files that talk about the words themselves, and what was written down before. */
const EXEMPT =
  /^(scripts\/check-words\.mjs|CHANGELOG\.md|package-lock\.json|bench\/results\/|test\/fixtures\/|test\/fuzz\/corpus\/|scripts\/docs\/package-lock\.json)/

const files = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
}).stdout.split('\0')
let found = 0
for (const file of files) {
  if (
    file === '' ||
    EXEMPT.test(file) ||
    !/\.(ts|cts|mjs|cpp|h|cu|c|md|py|sh|yml|txt|json|html)$/.test(file)
  )
    continue
  const rules = WORDS.filter(([, , where]) => where.test(file))
  let text
  try {
    text = readFileSync(join(root, file), 'utf8')
  } catch {
    continue // deleted, and not yet staged
  }
  text.split('\n').forEach((line, i) => {
    for (const [word, instead] of rules) {
      const hit = word.exec(line)
      if (hit === null) continue
      console.error(`${file}:${i + 1}: '${hit[0]}': use ${instead}`)
      found++
    }
  })
}
if (found > 0) {
  console.error(`${found} words that this project has given up (scripts/check-words.mjs)`)
  process.exitCode = 1
}
