/** No room on the disk: saving is a clear error, and what was saved before is still there. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { limit, onCpu } from './helpers.js'

const program = fileURLToPath(new URL('./disk/writing.js', import.meta.url))
const mounts = (options: string): boolean => {
  const command = `mount -t tmpfs -o size=64k tmpfs ${tmpdir()}`
  return spawnSync('unshare', [...options.split(' '), 'sh', '-c', command]).status === 0
}
/** How to get a file system of one's own: as root, or where users may have namespaces. */
const unshare = ['--mount', '--user --map-root-user --mount'].find(mounts)
// The files are the same on every device; Windows has neither.
const limitTest = onCpu && process.platform !== 'win32' ? test.serial : test.serial.skip
const diskTest = onCpu && unshare !== undefined ? test.serial : test.serial.skip

/** A shell script with the program as `$0`, this Node as `$1` and a folder as `$2`. */
function shell(script: string, before: readonly string[] = []): { status: unknown; said: string } {
  const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-disk-'))
  const [command = '', ...args] = [...before, 'sh', '-c', script, program, process.execPath, folder]
  const { status, signal, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  rmSync(folder, { recursive: true, force: true })
  return { status: status ?? signal, said: stdout + stderr }
}

limitTest('files that may not be large enough', (t) => {
  const script = '"$1" "$0" make "$2" && ulimit -f 8 && exec "$1" "$0" limited "$2"'
  const { status, said } = shell(script)
  t.is(status, 0, said)
})

diskTest('a full disk, whatever room there is left', (t) => {
  t.timeout(limit(600))
  const script =
    'mount -t tmpfs -o size=1500k tmpfs "$2" && "$1" "$0" make "$2" && "$1" "$0" full "$2"'
  const { status, said } = shell(script, ['unshare', ...(unshare as string).split(' ')])
  t.is(status, 0, said)
  t.log(said.trim())
})
