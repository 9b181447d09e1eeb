/** A run that ends before its report does; runner.test.ts runs it. */
import test from 'ava'

test('one that passes', (t) => {
  t.pass()
})

test('one that takes the whole run with it', async () => {
  process.kill(process.pid, 'SIGKILL')
  await new Promise(() => {})
})
