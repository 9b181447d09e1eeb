/** What docs/cells.md shows works as it is written, and its tables name what there is. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import test from 'ava'
import { nn } from 'fused-rnn'
import { codeBlocks, compile } from './document.js'
import { onCpu } from './helpers.js'

// The program itself chooses no device.
const once = onCpu ? test : test.skip
const page = new URL('../docs/cells.md', import.meta.url)

once('the TypeScript of the page is one program, which runs', async (t) => {
  const blocks = await codeBlocks('docs/cells.md', 'ts')
  t.true(blocks.length >= 2)
  const program = await compile('cells-page', 'cells', blocks.join('\n'))
  if (program === null) return t.pass()
  const { stdout } = await promisify(execFile)(process.execPath, [program])
  t.regex(stdout, /^\[ 5, 4, 16 \] \[ 4, 4, 8 \] 16$/m)
})

once('every recurrent layer and cell of nn has its row', async (t) => {
  const text = await readFile(page, 'utf8')
  const names = Object.entries(nn)
    .filter(
      ([, value]) =>
        typeof value === 'function' &&
        (value.prototype instanceof nn.RecurrentLayer ||
          value.prototype instanceof nn.RecurrentCell),
    )
    .map(([name]) => name)
  t.true(names.length >= 8)
  for (const name of names) t.true(text.includes(`\`nn.${name}\``), `docs/cells.md: nn.${name}`)
})
