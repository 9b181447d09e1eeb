/** scripts/test.mjs: whatever a test does, the others are reported and the counts are true. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const script = fileURLToPath(new URL('../scripts/test.mjs', import.meta.url))

function run(name: string): Promise<{ code: number | null; stdout: string }> {
  const args = [script, `dist-test/failing/${name}.js`]
  return new Promise((resolve) => {
    const child = execFile(process.execPath, args, (_, stdout) => {
      resolve({ code: child.exitCode, stdout })
    })
  })
}

test('errors that the report cannot write in full', async (t) => {
  const { code, stdout } = await run('errors')
  t.is(code, 1)
  t.regex(stdout, /^✘ an error without a place\n(?: .*\n)*? +message: 'nowhere'/m)
  t.regex(stdout, /^✘ an error with an undefined property\n(?: .*\n)*? +message: 'half'/m)
  t.regex(stdout, /^✘ nothing is thrown$/m)
  t.regex(stdout, /^✔ one that passes$/m)
  t.regex(stdout, /\n1 passed, 3 failed\n$/)
})

test('a test that ends the run', async (t) => {
  const { code, stdout } = await run('exit')
  t.is(code, 1)
  t.regex(stdout, /^✘ AVA ended before its report did: SIGKILL$/m)
  t.regex(stdout, /\n[01] passed, 1 failed\n$/)
})
