/** Finds the file of the addon, from the package and from a bundle. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { here, requireFrom } from './here.js'
import { VERSION } from './version.js'

/** What the addon is called beside a bundle. */
const BESIDE = 'fused_rnn.node'

/** The version of the package in this folder; null when it is not ours, or not a package. */
function versionIn(folder: string): string | null {
  try {
    const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return name === 'fused-rnn' ? String(version) : null
  } catch {
    return null
  }
}

/** The addon of an installed package or a clone: the one built there, else the prebuilt one. */
function inPackage(root: string): string {
  try {
    const require = requireFrom(join(root, 'package.json'))
    return (require('node-gyp-build') as { path(dir: string): string }).path(root)
  } catch (cause) {
    const { platform, arch } = process
    throw new Error(
      `fused-rnn: there is no addon for ${platform}-${arch} here; with a C++20 compiler and cmake, build it: npm run build:native (in ${root})`,
      { cause },
    )
  }
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
    `fused-rnn: the addon was not found from the bundle ${bundle}${other}; mark 'fused-rnn' as external in the bundler's configuration and install it where the program runs, or copy the package's prebuilds/${process.platform}-${process.arch}/*.node to ${BESIDE} beside the bundle (docs/troubleshooting.md has the lines for each bundler)`,
  )
}

export function findAddon(): string {
  // Another build of the addon, for those who work on it.
  const chosen = process.env.FUSED_RNN_ADDON
  if (chosen) return resolve(chosen)
  const root = join(dirname(here), '..')
  return versionIn(root) === null ? forBundle() : inPackage(root)
}
