// What an addon for Linux with glibc shows and asks of the system, for any processor (readelf).
import { spawnSync } from 'node:child_process'

/** What a prebuilt addon may ask for, as README says; x86-64 and arm64 alike. */
const GLIBC = [2, 34]

/**
 * @param file an addon for Linux
 * @returns the newest version of glibc that it needs, '2.34'
 * @throws Error that says what is wrong with it
 */
export function checkNeeds(file) {
  const args = ['--wide', '--dyn-syms', file]
  const { status, stdout, stderr } = spawnSync('readelf', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`readelf ${file}: ${stderr}`)
  // Number, value, size, type, binding, visibility, section, name@version.
  const symbols = stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => /^\d+:$/.test(fields[0]) && fields.length >= 8)
    .filter(([, , , , binding]) => binding !== 'LOCAL')
    .map(([, , , , , , section, name]) => ({ section, name }))
  if (symbols.length === 0) throw new Error(`${file} has no symbols`)
  const shown = symbols.filter(({ section }) => section !== 'UND').map(({ name }) => name)
  const foreign = shown.filter((name) => !/^(napi|node_api)_/.test(name))
  if (foreign.length > 0) throw new Error(`${file} shows ${foreign.join(', ')}`)
  const needed = symbols.filter(({ section }) => section === 'UND').map(({ name }) => name)
  const libstdcxx = needed.join(' ').match(/(GLIBCXX|CXXABI)_[\d.]+/)
  if (libstdcxx) throw new Error(`${file} needs ${libstdcxx[0]} of the system's libstdc++`)
  const versions = [...needed.join(' ').matchAll(/GLIBC_(\d+)\.(\d+)/g)].map(([, a, b]) => [+a, +b])
  const newest = versions.sort(([a, b], [c, d]) => a - c || b - d).at(-1)
  if (newest === undefined) throw new Error(`${file} needs nothing of glibc`)
  if ((newest[0] - GLIBC[0] || newest[1] - GLIBC[1]) > 0)
    throw new Error(`${file} needs glibc ${newest.join('.')}, README says ${GLIBC.join('.')}`)
  return newest.join('.')
}
