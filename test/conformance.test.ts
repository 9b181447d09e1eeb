/** docs/conformance.md is what the cases of other projects say, whatever day it was written. */
import { readFile } from 'node:fs/promises'
import test from 'ava'
import { pageOf, suites, WHEN } from './conformance/page.js'
import { onCpu } from './helpers.js'

const page = new URL('../docs/conformance.md', import.meta.url)

// The page is about the CPU.
;(onCpu ? test.serial : test.serial.skip)(
  'docs/conformance.md is what npm run conformance writes; nothing that passed has stopped to',
  async (t) => {
    const lines = (text: string): string[] => text.replace(WHEN, '').split('\n')
    const all = await suites()
    const written = lines(await readFile(page, 'utf8'))
    const found = lines(pageOf(all, ''))
    t.deepEqual(
      found.filter((line) => !written.includes(line)),
      [],
      'what npm run conformance would add',
    )
    t.deepEqual(found, written)
    for (const { title, results } of all) t.true(results.length > 0, title)
  },
)
