/** test/limits.ts: a child that is killed says so. */
import test from 'ava'
import { limit, run, slowness } from './limits.js'

test('a program that takes too long is killed, and the error says so', async (t) => {
  // A shell has begun long before, also where a Node takes seconds.
  const script = 'echo begun; echo waits >&2; exec sleep 1000'
  const error = await t.throwsAsync(run('sh', ['-c', script], { limitSeconds: 8 / slowness }))
  t.regex(String(error?.message), /killed by the test's time limit after \d[\d.]* s \(\d+ ms/)
  t.regex(String(error?.message), /begun\n/)
  t.regex(String(error?.message), /waits\n/)
})

test('a program that ends says how', async (t) => {
  const script = "console.log('out'); console.error('err'); process.exit(3)"
  t.like(await run(process.execPath, ['--eval', script]), {
    code: 3,
    signal: null,
    stdout: 'out\n',
    stderr: 'err\n',
  })
  t.like(await run(process.execPath, ['--eval', "process.kill(process.pid, 'SIGTERM')"]), {
    code: null,
    signal: 'SIGTERM',
  })
  await t.throwsAsync(run('/nowhere/program', []), { code: 'ENOENT' })
})

test('limits grow with what a machine has to do', (t) => {
  t.true(slowness >= 1)
  t.true(limit(10) >= 10_000)
})
