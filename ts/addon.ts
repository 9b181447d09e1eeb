/** Finds the file of the addon, from the package and from a bundle. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { here, requireFrom } from './here.js'
import { libc, PLATFORMS, type Platform } from './platforms.js'
import { VERSION } from './version.js'

/** What the addon is called beside a bundle. */
const BESIDE = 'fused_rnn.node'

/** The version of the package in this folder; null when it is another, or none. */
function versionIn(folder: string, expected = 'fused-rnn'): string | null {
  try {
    const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return name === expected ? String(version) : null
  } catch {
    return null
  }
}

/** What node-gyp-build finds below a folder: build/Release, else prebuilds; null for nothing. */
function below(root: string, folder: string): string | null {
  const load = requireFrom(join(root, 'package.json'))('node-gyp-build')
  try {
    return (load as { path(dir: string): string }).path(folder)
  } catch {
    return null
  }
}

/** The folder of a platform's package, where it is installed for the package in `root`. */
function folderOf(root: string, { name }: Platform): string | null {
  try {
    const require = requireFrom(join(root, 'package.json'))
    return dirname(require.resolve(`@fused-rnn/${name}/package.json`))
  } catch {
    return null
  }
}

/** Where there is an NVIDIA driver, on Linux and in WSL, the addon with CUDA comes first. */
const hasDriver = (): boolean => existsSync('/dev/nvidiactl') || existsSync('/dev/dxg')

/**
 * The addon of the package in `root`: what was built there, else what was prebuilt there (a clone),
 * else that of the platform's package.
 */
function inPackage(root: string): string {
  const own = below(root, root)
  if (own !== null) return own
  const { platform, arch } = process
  const library = libc()
  const fits = ({ os, cpu, libc }: Platform): boolean =>
    os === platform && cpu === arch && (libc === undefined || library?.startsWith(libc) === true)
  const fitting = PLATFORMS.filter(fits)
  // Of two that fit, the list has the one with CUDA last.
  const inOrder = hasDriver() ? fitting.toReversed() : fitting
  const others: string[] = []
  for (const place of inOrder) {
    const folder = folderOf(root, place)
    if (folder === null) continue
    const version = versionIn(folder, `@fused-rnn/${place.name}`)
    const file = version === VERSION ? below(root, folder) : null
    if (file !== null) return file
    const wrong = version === VERSION ? 'has no addon in it' : `is version ${version}`
    others.push(`@fused-rnn/${place.name} ${wrong}`)
  }
  for (const place of PLATFORMS)
    if (!fitting.includes(place) && folderOf(root, place) !== null)
      others.push(`@fused-rnn/${place.name} is for another system`)
  throw new Error(missing(fitting, [platform, arch, ...(library ? [library] : [])], others))
}

/** What is wrong with an installation that has no addon, and what to do. */
function missing(
  fitting: readonly Platform[],
  system: readonly string[],
  others: readonly string[],
): string {
  const [first] = fitting
  const build = 'build it from the sources: npx fused-rnn build'
  if (first === undefined)
    return `fused-rnn: there is no prebuilt addon for ${system.join(' ')}, only for ${PLATFORMS.map(({ name }) => name).join(', ')}; with a C++20 compiler and cmake, ${build}`
  const found = others.length > 0 ? ` (${others.join('; ')})` : ''
  return `fused-rnn: there is no addon for ${system.join(' ')}: the package @fused-rnn/${first.name} ${VERSION}, which holds it, is not installed${found}. Install on this system, and without --omit=optional or --no-optional; or add that package by its name; or ${build}`
}

/** The folder of the package that a file would import, if it is installed for it. */
function installedFor(file: string): string | null {
  try {
    return dirname(requireFrom(file).resolve('fused-rnn/package.json'))
  } catch {
    return null
  }
}

/** A bundle holds no addon: it is a file beside it, or in the package, which may still be installed. */
function forBundle(): string {
  // Some bundlers give the place of the file that they have read: the program's is the second try.
  const program = process.argv[1] === undefined ? [] : [resolve(process.argv[1])]
  const places = [...new Set([here, ...program])]
  const beside = places.map((file) => join(dirname(file), BESIDE)).find((file) => existsSync(file))
  if (beside !== undefined) return beside
  let other = ''
  for (const file of [...places, join(process.cwd(), 'bundle.js')]) {
    const root = installedFor(file)
    if (root === null) continue
    const version = versionIn(root)
    if (version === VERSION) return inPackage(root)
    other = ` (${root} is version ${version}, the bundle has ${VERSION})`
  }
  // Where the place is that of a file read long ago, the program is the bundle.
  const bundle = existsSync(here) ? here : (program[0] ?? here)
  throw new Error(
    `fused-rnn: the addon was not found from the bundle ${bundle}${other}; mark 'fused-rnn' as external in the bundler's configuration and install it where the program runs, or copy the addon, prebuilds/${process.platform}-${process.arch}/*.node of the platform's package in node_modules/@fused-rnn, to ${BESIDE} beside the bundle (docs/troubleshooting.md has the lines for each bundler)`,
  )
}

export function findAddon(): string {
  // Another build of the addon, for those who work on it.
  const chosen = process.env.FUSED_RNN_ADDON
  if (chosen) return resolve(chosen)
  const root = join(dirname(here), '..')
  return versionIn(root) === null ? forBundle() : inPackage(root)
}
