// AVA's command line, with a TAP reporter that a failing test cannot bring down. The reporter writes
// what it knows of an error as YAML, with a function that throws at an undefined property; one is
// the place of an error without a line of its stack in a test, such as that of a promise which the
// addon rejects. The whole run would end there, with neither the failure nor the tests that follow.
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'

const ava = createRequire(import.meta.url).resolve('ava')
const yaml = createRequire(ava)('js-yaml')
const { safeDump } = yaml
yaml.safeDump = (value, options) => safeDump(value, { ...options, skipInvalid: true })

await import(pathToFileURL(join(dirname(ava), 'cli.mjs')).href)
