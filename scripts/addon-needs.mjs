// What an addon for Linux or macOS shows and asks of the system and of Node, for any processor
// (readelf; for macOS nm and otool there, LLVM's elsewhere).
//
//   node scripts/addon-needs.mjs [--glibc 2.34] FILES AND FOLDERS
//
// --glibc: the version that must do; default: what README says.
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { platform } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** What a prebuilt addon may ask for, as README says; x86-64 and arm64 alike. */
const GLIBC = '2.28'
/** package.json's napi_versions. */
const NODE_API = 8
/** Node-API has them, and fails in Electron, whose memory for arrays is all V8's. */
const NOT_IN_ELECTRON = ['napi_create_external_arraybuffer', 'napi_create_external_buffer']

/** What a program prints about a file. */
function ask(program, args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' })
  if (status === 0) return stdout
  throw new Error(`${[program, ...args].join(' ')}: ${error?.message ?? stderr}`)
}

/** Whether it is for macOS: the first bytes of a Mach-O file of 64 bits. */
function isForMac(file) {
  const bytes = Buffer.alloc(4)
  const open = openSync(file)
  readSync(open, bytes)
  closeSync(open)
  return bytes.readUInt32LE() === 0xfeedfacf
}

/** As symbolsOf, of a file for macOS. What libc++ has in every file is left out. */
function symbolsOfMac(file) {
  const lines = ask(platform() === 'darwin' ? 'nm' : 'llvm-nm', ['-g', file]).split('\n')
  const symbols = lines
    .map((line) => / ([A-Z]) _(\S+)$/.exec(line)?.slice(1))
    .filter((found) => found !== undefined && !/^(_Z(n|d)[wla]|_mh_|__dso_handle)/.test(found[1]))
  const names = (chosen) => symbols.filter(([kind]) => chosen(kind)).map(([, name]) => name)
  return { shown: names((kind) => kind !== 'U'), needed: names((kind) => kind === 'U') }
}

/** The symbols that a file defines, and those that it wants of others: name, or name@version. */
function symbolsOf(file) {
  if (isForMac(file)) return symbolsOfMac(file)
  const stdout = ask('readelf', ['--wide', '--dyn-syms', file])
  // Number, value, size, type, binding, visibility, section, name@version.
  const symbols = stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => /^\d+:$/.test(fields[0]) && fields.length >= 8)
    .filter(([, , , , binding]) => binding !== 'LOCAL')
    .map(([, , , , , , section, name]) => ({ section, name }))
  if (symbols.length === 0) throw new Error(`${file} has no symbols`)
  const names = (chosen) => symbols.filter(chosen).map(({ name }) => name)
  return {
    shown: names(({ section }) => section !== 'UND'),
    needed: names(({ section }) => section === 'UND'),
  }
}

/**
 * Whether every Node and Electron can load it: nothing of V8, libuv or a newer Node-API, no arrays
 * over memory of its own, and Node's entries alone are seen.
 * @param file an addon for Linux, with glibc or musl, or for macOS
 * @returns how many functions of Node it calls
 * @throws Error that says what is wrong with it
 */
export function checkNode(file) {
  const { shown, needed } = symbolsOf(file)
  const foreign = shown.filter((name) => !/^(napi|node_api)_/.test(name))
  if (foreign.length > 0) throw new Error(`${file} shows ${foreign.join(', ')}`)
  // Without it, one process could load the addon once only.
  if (!shown.includes('napi_register_module_v1')) throw new Error(`${file} is no addon for Node`)
  const { symbols } = createRequire(import.meta.url)('node-api-headers')
  const known = Object.entries(symbols)
    .filter(([version]) => Number(version.slice(1)) <= NODE_API)
    .flatMap(([, { js_native_api_symbols, node_api_symbols }]) => [
      ...js_native_api_symbols,
      ...node_api_symbols,
    ])
  const called = needed.filter((name) =>
    /^(napi_|node_api_|node_|uv_|_ZNK?2v8|_ZNK?4node)/.test(name),
  )
  const refused = called.filter((name) => !known.includes(name) || NOT_IN_ELECTRON.includes(name))
  if (refused.length > 0)
    throw new Error(`${file} needs ${refused.join(', ')}, which not every host has`)
  return called.length
}

/**
 * @param file an addon for Linux with glibc
 * @param allowed the version of glibc that must do
 * @returns the newest version of glibc that it needs, '2.27'
 * @throws Error that says what is wrong with it; see checkNode, too
 */
export function checkNeeds(file, allowed = GLIBC) {
  checkNode(file)
  const { needed } = symbolsOf(file)
  const libstdcxx = needed.join(' ').match(/(GLIBCXX|CXXABI)_[\d.]+/)
  if (libstdcxx) throw new Error(`${file} needs ${libstdcxx[0]} of the system's libstdc++`)
  const minor = (version) => Number(/^2\.(\d+)/.exec(version)?.[1])
  const versions = needed.flatMap((name) => /@GLIBC_(2\.\d+)/.exec(name)?.[1] ?? [])
  const newest = versions.sort((a, b) => minor(a) - minor(b)).at(-1)
  if (newest === undefined) throw new Error(`${file} needs nothing of glibc`)
  if (!(minor(newest) <= minor(allowed))) {
    const names = needed.filter((name) => minor(/@GLIBC_(2\.\d+)/.exec(name)?.[1]) > minor(allowed))
    throw new Error(`${file} needs glibc ${newest}, not ${allowed}: ${names.join(', ')}`)
  }
  return newest
}

/**
 * @param file an addon for macOS
 * @returns the libraries that it needs, all of which every Mac has
 * @throws Error that says what is wrong with it; see checkNode, too
 */
export function checkMac(file) {
  checkNode(file)
  const [program, ...args] =
    platform() === 'darwin' ? ['otool', '-L'] : ['llvm-objdump', '--macho', '--dylibs-used']
  const libraries = ask(program, [...args, file])
    .split('\n')
    .flatMap((line) => /^\s+(\S+) \(/.exec(line)?.[1] ?? [])
  // The first one is its own name.
  const foreign = libraries.filter((name) => !/^(@rpath\/fused_rnn\.node$|\/usr\/lib\/)/.test(name))
  if (foreign.length > 0) throw new Error(`${file} needs ${foreign.join(', ')}`)
  return libraries.slice(1)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const options = { glibc: { type: 'string', default: GLIBC } }
  const { values, positionals } = parseArgs({ options, allowPositionals: true })
  const files = positionals.flatMap((path) =>
    statSync(path).isDirectory()
      ? readdirSync(path, { recursive: true })
          .filter((name) => name.endsWith('.node'))
          .map((name) => join(path, name))
      : [path],
  )
  if (files.length === 0) throw new Error(`no addon in ${positionals.join(', ')}`)
  for (const file of files) {
    const needs = isForMac(file)
      ? checkMac(file).join(', ')
      : `glibc ${checkNeeds(file, values.glibc)}`
    console.log(`${file}: ${needs}`)
  }
}
