/** EXPORTS.md lists what the package exports: every name, and no other. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import * as fused from 'fused-rnn'
import { onCpu } from './helpers.js'

const root = join(fileURLToPath(new URL('.', import.meta.url)), '..')

interface Names {
  values: string[]
  types: string[]
}

/** What EXPORTS.md says, by namespace: 'fused-rnn', 'nn', 'nn.utils', … */
function documented(): Map<string, Names> {
  const all = new Map<string, Names>()
  let current: Names | undefined
  const codes = (text = ''): string[] =>
    Array.from(text.matchAll(/`(.+?)`/g), ([, name = '']) => name)
  for (const line of readFileSync(join(root, 'EXPORTS.md'), 'utf8').split('\n')) {
    const [, namespace, , values, types] = line.split('|')
    if (values === undefined) continue
    const [name] = codes(namespace)
    if (name !== undefined) {
      current = { values: [], types: [] }
      all.set(name, current)
    }
    current?.values.push(...codes(values))
    current?.types.push(...codes(types))
  }
  return all
}

/** All names that a declaration file exports, and its namespaces' files. */
function declared(file: string): { names: Set<string>; namespaces: Map<string, string> } {
  const text = readFileSync(file, 'utf8').replace(/\/\*.*?\*\//gs, '')
  const beside = (path = ''): string => join(dirname(file), `${path}.d.ts`)
  const names = new Set<string>()
  const namespaces = new Map<string, string>()
  for (const [, list = ''] of text.matchAll(/^export (?:type )?\{(.*?)\}/gms)) {
    for (const entry of list.split(',')) {
      const name = /(\w+)\s*$/.exec(entry)?.[1]
      if (name !== undefined) names.add(name)
    }
  }
  const kinds = 'class|function|const|interface|type'
  const declarations = new RegExp(`^export (?:declare )?(?:abstract )?(?:${kinds}) (\\w+)`, 'gm')
  for (const [, name = ''] of text.matchAll(declarations)) names.add(name)
  for (const [, name = '', path] of text.matchAll(/^export \* as (\w+) from '(.*)\.js'/gm))
    namespaces.set(name, beside(path))
  for (const [, path] of text.matchAll(/^export \* from '(.*)\.js'/gm)) {
    const more = declared(beside(path))
    for (const name of more.names) names.add(name)
    for (const [name, its] of more.namespaces) namespaces.set(name, its)
  }
  return { names, namespaces }
}

/** What there is, by namespace, as `documented`. */
function exported(path: string, module: object, file: string, all = new Map<string, Names>()) {
  const { names, namespaces } = declared(file)
  const values = new Map<string, unknown>(Object.entries(module))
  for (const [name, its] of namespaces) {
    const inner = values.get(name)
    if (typeof inner !== 'object' || inner === null) throw new Error(`${path}.${name} is not there`)
    values.delete(name)
    exported(path === 'fused-rnn' ? name : `${path}.${name}`, inner, its, all)
  }
  const types = [...names].filter((name) => !values.has(name))
  all.set(path, { values: [...values.keys()], types })
  return all
}

// Names know no device.
const once = onCpu ? test : test.skip

once('EXPORTS.md', (t) => {
  const page = documented()
  const actual = exported('fused-rnn', fused, join(root, 'dist/index.d.ts'))
  t.deepEqual([...page.keys()].sort(), [...actual.keys()].sort())
  for (const [namespace, { values, types }] of actual) {
    const said = page.get(namespace)
    t.deepEqual(said?.values.sort(), values.sort(), `the values of ${namespace}`)
    t.deepEqual(said?.types.sort(), types.sort(), `the types of ${namespace}`)
  }
})

test('nothing else can be imported', async (t) => {
  const inner: string = 'fused-rnn/dist/binding.js'
  await t.throwsAsync(import(inner), { code: 'ERR_PACKAGE_PATH_NOT_EXPORTED' })
})
