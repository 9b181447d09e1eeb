/** What the types allow and refuse: test/types, as a user's compiler sees it. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { onCpu } from './helpers.js'

const root = join(fileURLToPath(new URL('.', import.meta.url)), '..')

// Types know no device.
const once = onCpu ? test : test.skip

once('the files in test/types compile, and nothing that they expect to fail does', async (t) => {
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  const run = promisify(execFile)(process.execPath, [compiler, '-p', join(root, 'test/types')])
  const problems = await run.then(
    () => '',
    ({ stdout }) => stdout,
  )
  t.is(problems, '')
})
