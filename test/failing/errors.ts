/** Tests that fail in ways that AVA's reports once broke at; runner.test.ts runs them. */
import test from 'ava'

test('an error without a place', async () => {
  const error = new Error('nowhere')
  error.stack = 'Error: nowhere'
  await Promise.reject(error)
})

test('an error with an undefined property', () => {
  throw Object.assign(new Error('half'), { before: undefined, all: [undefined, { x: undefined }] })
})

test('nothing is thrown', async () => {
  await Promise.reject(undefined)
})

test('one that passes', (t) => {
  t.pass()
})
