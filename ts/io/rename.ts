/** Renaming onto what is there. */
import { rename } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** What Windows answers while a reader, a virus scanner or a backup has one of the files open. */
const BUSY = ['EPERM', 'EACCES', 'EBUSY']
const LONGEST_MS = 10_000

/**
 * Gives a file or folder a name that another one may have. Windows does not replace what is open:
 * there it is tried again for some seconds.
 * @param system for tests
 * @throws (rejects) Error of the file system
 */
export async function renameOver(
  from: string,
  to: string,
  system: { rename: typeof rename; platform: NodeJS.Platform } = {
    rename,
    platform: process.platform,
  },
): Promise<void> {
  const end = performance.now() + LONGEST_MS
  for (let pause = 5; ; pause = Math.min(2 * pause, 250)) {
    try {
      return await system.rename(from, to)
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      const again = system.platform === 'win32' && BUSY.includes(code)
      if (!again || performance.now() > end) throw error
    }
    await sleep(pause)
  }
}
