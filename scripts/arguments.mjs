/**
 * Arguments too many are refused: after tsc, every function, method and constructor that the package
 * exports gets a line in dist/ that counts them (`npm run build:ts`). It stands in the function itself,
 * so a call costs nothing more, and no function can be forgotten.
 *
 * Left alone are what takes any number of arguments, what JavaScript or the trainer calls with
 * arguments of its own (toJSON, on…), what is marked @internal, and members that are protected, which a
 * base calls with all that any of its classes takes, or private.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'acorn'

const dist = resolve(
  process.argv[2] ?? join(fileURLToPath(new URL('.', import.meta.url)), '../dist'),
)
/** What is called with arguments that are not its user's. */
const PROTOCOL = /^(toJSON|finalize|on[A-Z]\w*)$/
/** Classes whose methods are known by their names alone, as in the other messages. */
const BARE = /^(Tensor|Module|\w+Methods)$/

/** file → what is in it */
const files = new Map()

function read(file) {
  let found = files.get(file)
  if (found === undefined) {
    const text = readFileSync(file, 'utf8')
    const internal = []
    const onComment = (block, comment, _start, end) => {
      if (block && /@internal\b/.test(comment)) internal.push(end)
    }
    const { body } = parse(text, { ecmaVersion: 'latest', sourceType: 'module', onComment })
    const types = readFileSync(file.replace(/\.js$/, '.d.ts'), 'utf8')
    const hidden = new Set(
      Array.from(
        types.matchAll(/^ +protected (?:(?:static|abstract) )?(\w+)\(/gm),
        ([, name]) => name,
      ),
    )
    hidden.delete('constructor')
    const names = scope(body, file)
    found = { file, text, body, internal, hidden, edits: [], done: new Set(), names }
    files.set(file, found)
  }
  return found
}

/** The names at the top of a module: declarations, and what is imported from where. */
function scope(body, file) {
  const names = new Map()
  const beside = (source) => (source.startsWith('.') ? join(dirname(file), source) : null)
  for (const node of body) {
    const declared = node.declaration ?? node
    if (/^(Function|Class)Declaration$/.test(declared.type)) names.set(declared.id.name, declared)
    if (declared.type === 'VariableDeclaration')
      for (const { id, init } of declared.declarations) if (id.name) names.set(id.name, init)
    if (node.type !== 'ImportDeclaration') continue
    const from = beside(node.source.value)
    for (const { type, local, imported } of node.specifiers)
      if (from !== null && type === 'ImportSpecifier')
        names.set(local.name, { type: 'Elsewhere', file: from, name: imported.name })
  }
  return names
}

/** Visits everything that a module exports. */
function exported(file) {
  const { body } = read(file)
  for (const node of body) {
    const from = node.source?.value.startsWith('.') ? join(dirname(file), node.source.value) : null
    if (node.type === 'ExportAllDeclaration' && from !== null) exported(from)
    if (node.type !== 'ExportNamedDeclaration') continue
    for (const { local, exported } of node.specifiers)
      guard(from ?? file, local.name, exported.name)
    const { declaration } = node
    if (declaration?.id) guard(file, declaration.id.name, declaration.id.name)
    for (const { id } of declaration?.declarations ?? []) guard(file, id.name, id.name)
  }
}

/** @param known the name under which users know it */
function guard(file, name, known) {
  const module = read(file)
  const node = module.names.get(name)
  if (node === undefined) return again(module, name, known)
  if (node?.type === 'Elsewhere') guard(node.file, node.name, known)
  if (node?.type === 'Identifier') guard(file, node.name, known)
  if (/Function/.test(node?.type)) count(module, node, known)
  if (/Class/.test(node?.type)) guardClass(module, node, known)
}

/** A name that the module itself exports from another. */
function again({ body, file }, name, known) {
  for (const node of body) {
    const source = node.source?.value
    if (!/^Export/.test(node.type) || !source?.startsWith('.')) continue
    const from = join(dirname(file), source)
    for (const { local, exported } of node.specifiers ?? [])
      if (exported.name === name) guard(from, local.name, known)
  }
}

function guardClass(module, node, known) {
  if (module.done.has(node)) return
  module.done.add(node)
  if (node.superClass?.type === 'Identifier')
    guard(module.file, node.superClass.name, node.superClass.name)
  const { body } = node.body
  if (node.superClass === null && !body.some(({ kind }) => kind === 'constructor'))
    module.edits.push([node.body.start + 1, `constructor(){${check(known, [])}}`])
  for (const { type, key, kind, computed, value, start } of body) {
    if (type !== 'MethodDefinition' || computed || key.type !== 'Identifier') continue
    if (kind === 'get' || kind === 'set' || PROTOCOL.test(key.name)) continue
    if (module.hidden.has(key.name) || isInternal(module, start)) continue
    const own =
      kind === 'constructor' ? known : BARE.test(known) ? key.name : `${known}.${key.name}`
    count(module, value, own)
  }
}

/** Whether the comment before this place says so. */
function isInternal({ text, internal }, start) {
  return internal.some((end) => end <= start && /^\s*$/.test(text.slice(end, start)))
}

function count(module, node, known) {
  const { params, body } = node
  if (module.done.has(node) || node.type === 'ArrowFunctionExpression') return
  module.done.add(node)
  if (params.some(({ type }) => type === 'RestElement') || isInternal(module, node.start)) return
  const names = params.map(({ name, left }) => name ?? left?.name ?? 'options')
  module.edits.push([body.start + 1, check(known, names)])
}

const check = (known, names) =>
  `if(arguments.length>${names.length})refuseArguments(${JSON.stringify(known)},${JSON.stringify(names)},arguments.length,arguments[0],arguments[1],arguments[2]);`

exported(join(dist, 'index.js'))
let guarded = 0
for (const { file, text, edits } of files.values()) {
  guarded += edits.length
  if (edits.length === 0 || text.includes('refuseArguments(')) continue
  let out = text
  for (const [at, code] of edits.sort(([a], [b]) => b - a))
    out = out.slice(0, at) + code + out.slice(at)
  const up = dirname(file).slice(dist.length).split('/').length - 1
  const from = `${up === 0 ? './' : '../'.repeat(up)}arguments.js`
  // At the end: lines stay where the source map has them, and imports are hoisted.
  const map = out.lastIndexOf('//# sourceMappingURL')
  const line = `import { refuseArguments } from '${from}';\n`
  writeFileSync(file, map < 0 ? out + line : out.slice(0, map) + line + out.slice(map))
}
if (guarded === 0) throw new Error(`nothing in ${dist} is exported`)
