// Runs test files in Bun, which AVA does not know: as much of AVA as they use, one test after another.
//
//   scripts/run-musl.sh scripts/ava-in-bun.mjs dist-test/FILE.test.js …
//
// Each file gets a process of its own. Prints TAP, and a last line with how many passed.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { inspect, isDeepStrictEqual } from 'node:util'

/** The error fits what a test expects of it. */
function fits(error, expected, { any, instanceOf, message, code, name, is } = expected ?? {}) {
  if (!any) assert(error instanceof Error, `no Error was thrown: ${error}`)
  if (instanceOf) assert(error instanceof instanceOf, `${error} is no ${instanceOf.name}`)
  if (message instanceof RegExp) assert.match(error.message, message)
  else if (typeof message === 'function') assert(message(error.message), error.message)
  else if (message !== undefined) assert.equal(error.message, message)
  if (code !== undefined) assert.equal(error.code, code)
  if (name !== undefined) assert.equal(error.name, name)
  if (is !== undefined) assert.equal(error, is)
  return error
}

/** Every field of `expected`, in objects within it as well, is the same in `value`. */
function like(value, expected) {
  if (expected === null || typeof expected !== 'object') return Object.is(value, expected)
  if (value === null || typeof value !== 'object') return false
  return Object.keys(expected).every((key) => like(value[key], expected[key]))
}

/** What a test is given, and what it wants done at its end. */
function context(title, teardowns) {
  const failed = []
  const log = (...words) => console.log(words.map((word) => `# ${word}`).join('\n'))
  const check = (good, what, said) => {
    if (!good) throw new assert.AssertionError({ message: `${said ?? ''} ${what}` })
  }
  const show = (value) => inspect(value).slice(0, 300)
  const t = {
    title,
    context: {},
    log,
    timeout() {},
    plan() {},
    pass() {},
    fail: (said) => check(false, 'failed', said),
    teardown: (f) => teardowns.unshift(f),
    is: (a, b, said) => check(Object.is(a, b), `${show(a)} is not ${show(b)}`, said),
    not: (a, b, said) => check(!Object.is(a, b), `is ${show(b)}`, said),
    deepEqual: (a, b, said) => check(isDeepStrictEqual(a, b), `${show(a)} ≠ ${show(b)}`, said),
    notDeepEqual: (a, b, said) => check(!isDeepStrictEqual(a, b), `equals ${show(b)}`, said),
    like: (a, b, said) => check(like(a, b), `${show(a)} is not like ${show(b)}`, said),
    true: (a, said) => check(a === true, `${show(a)} is not true`, said),
    false: (a, said) => check(a === false, `${show(a)} is not false`, said),
    truthy: (a, said) => check(a, `${show(a)} is false`, said),
    falsy: (a, said) => check(!a, `${show(a)} is true`, said),
    assert: (a, said) => check(a, `${show(a)} is false`, said),
    regex: (a, b, said) => check(b.test(a), `${show(a)} does not match ${b}`, said),
    notRegex: (a, b, said) => check(!b.test(a), `${show(a)} matches ${b}`, said),
    throws(f, expected, said) {
      try {
        f()
      } catch (error) {
        return fits(error, expected)
      }
      check(false, 'nothing was thrown', said)
    },
    async throwsAsync(f, expected, said) {
      try {
        await (typeof f === 'function' ? f() : f)
      } catch (error) {
        return fits(error, expected)
      }
      check(false, 'nothing was thrown', said)
    },
    notThrows: (f) => f(),
    notThrowsAsync: (f) => (typeof f === 'function' ? f() : f),
  }
  // A failed assertion that the test itself caught fails the test all the same.
  for (const [name, f] of Object.entries(t)) {
    if (typeof f !== 'function') continue
    const note = (error) => {
      if (error instanceof assert.AssertionError) failed.push(error)
      throw error
    }
    t[name] = (...args) => {
      try {
        const result = f(...args)
        return name.endsWith('Async') ? Promise.resolve(result).catch(note) : result
      } catch (error) {
        return note(error)
      }
    }
  }
  return { t, failed }
}

async function runFile(file) {
  const tests = []
  const before = []
  const after = []
  const into =
    (list, more = {}) =>
    (title, f, ...args) =>
      typeof title === 'function'
        ? list.push({ title: 'hook', f: title, args: [], ...more })
        : list.push({ title, f, args, ...more })
  const test = into(tests)
  test.serial = into(tests)
  test.skip = into(tests, { skipped: true })
  test.serial.skip = test.skip
  test.before = into(before)
  test.after = into(after)
  test.after.always = test.after
  Bun.plugin({
    name: 'ava',
    setup: (build) => build.module('ava', () => ({ exports: { default: test }, loader: 'object' })),
  })
  await import(file)
  const count = { passed: 0, failed: 0, skipped: 0 }
  for (const { title, f, args, skipped } of [...before, ...tests, ...after]) {
    if (skipped) {
      count.skipped++
      console.log(`ok - ${title} # SKIP`)
      continue
    }
    const teardowns = []
    const { t, failed } = context(title, teardowns)
    try {
      await f(t, ...args)
    } catch (error) {
      if (!failed.includes(error)) failed.push(error)
    }
    for (const teardown of teardowns) await teardown()
    if (title === 'hook' && failed.length === 0) continue
    count[failed.length === 0 ? 'passed' : 'failed']++
    console.log(`${failed.length === 0 ? 'ok' : 'not ok'} - ${title}`)
    for (const error of failed) console.log(String(error?.stack ?? error).replace(/^/gm, '# '))
  }
  console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`)
  process.exit(count.failed === 0 ? 0 : 1)
}

const files = process.argv.slice(2).map((file) => resolve(file))
if (files.length === 1) await runFile(files[0])
else
  for (const file of files) {
    console.log(`# ${file}`)
    const { status } = spawnSync(process.execPath, [import.meta.filename, file], {
      stdio: 'inherit',
    })
    if (status !== 0) {
      console.log(`# ended with ${status}`)
      process.exitCode = 1
    }
  }
