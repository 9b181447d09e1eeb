/**
 * Where this code runs from: a file of the package, or the bundle that a bundler has put it in. Not
 * every bundle has an `import.meta.url`, and not every module a `__filename`.
 */
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

function find(): string {
  if (typeof __filename === 'string' && __filename !== '') return resolve(__filename)
  // In a bundle of CommonJS a bundler may have left nothing of it.
  const url = import.meta.url as string | undefined
  if (url?.startsWith('file:')) return fileURLToPath(url)
  return process.argv[1] === undefined ? join(process.cwd(), 'bundle.js') : resolve(process.argv[1])
}

/** The file that this code is in. */
export const here = find()

/**
 * Node's own `require` of a file. Bundlers follow an imported createRequire (webpack puts an error in
 * its place), but not this one: what it loads has to be there when the program runs.
 */
export function requireFrom(file: string): NodeJS.Require {
  return process.getBuiltinModule('node:module').createRequire(file)
}

export const requireHere = requireFrom(here)
