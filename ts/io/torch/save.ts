/** Writing what torch.load reads. */
import { rangeError } from '../../errors.js'
import { checkPath } from '../path.js'
import { bytesOf, reason, writeWhole } from '../whole_file.js'
import { zipped } from '../zip_writer.js'
import { pickled } from './pickle.js'

const FN = 'torch.save'
const MAX_TENSORS = 65_536

/**
 * Writes a file that `torch.load(path, weights_only=True)` takes: a state dict, or any plain values
 * with tensors in them (Maps and plain objects become dicts, arrays lists, bigints whole numbers).
 * Tensors that share their memory share it there, too. The file appears under its name only when it
 * is complete; the same values give the same bytes.
 * @throws (rejects) TypeError that names the place of what it cannot hold, such as a module (save its
 *   stateDict()) or a function; RangeError for too many tensors; Error that names the file when it cannot be written
 */
export async function save(path: string | URL, value: unknown): Promise<void> {
  const file = checkPath(FN, 'path', path, 'the path of a file')
  const { bytes, tensors } = pickled(FN, value)
  if (tensors.length > MAX_TENSORS)
    throw rangeError(FN, 'value', `at most ${MAX_TENSORS} tensors`, String(tensors.length))
  // The values as they are now, whatever the caller does with the tensors while the file is written.
  const values = tensors.map((tensor) => tensor.data())
  try {
    const arrays = await Promise.all(values)
    const part = (name: string, content: Uint8Array | string) => ({
      name: `archive/${name}`,
      bytes: typeof content === 'string' ? Buffer.from(content) : content,
    })
    const parts = [
      part('data.pkl', bytes),
      part('.format_version', '1'),
      part('.storage_alignment', '64'),
      part('byteorder', 'little'),
      ...arrays.map((array, i) => part(`data/${i}`, bytesOf(array))),
      part('version', '3\n'),
    ]
    await writeWhole(file, zipped(parts))
  } catch (error) {
    throw new Error(`[${FN}] ${file}: ${reason(error)}`, { cause: error })
  }
}
