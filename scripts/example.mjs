// Runs one of the examples after `npm run build:examples`: `npm run example -- NAME [options]`.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

const folder = join(import.meta.dirname, '../dist-examples')
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.js') && file !== 'common.js')
  .map((file) => file.slice(0, -3))
const [name, ...rest] = process.argv.slice(2)
if (!names.includes(name)) {
  console.error(`Usage: npm run example -- NAME [--help]\nNAME is one of ${names.join(', ')}`)
  process.exit(1)
}
process.argv = [process.argv[0], join(folder, `${name}.js`), ...rest]
try {
  await import(join(folder, `${name}.js`))
} catch (error) {
  // What the library says of the data or the options, such as a corpus that is too small, is one line.
  if (!/^\[[\w.]+\] /.test(error?.message)) throw error
  console.error(`error: ${error.message}`)
  process.exit(1)
}
