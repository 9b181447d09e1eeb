/** Models of TensorFlow.js: model.json, and beside it files with the values. */
import { realpath } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, sep } from 'node:path'
import { binding } from '../../binding.js'
import { describe } from '../../errors.js'
import { DTYPES } from '../../io/dtypes.js'
import { readBytes, readJson } from '../../io/open_file.js'
import { reason } from '../../io/whole_file.js'
import { type FromKerasOptions, fromFile, modelOf } from './from_keras.js'
import type { KerasModel } from './keras_model.js'
import { asObject, type Config, topologyOf } from './topology.js'
import type { Weight } from './weights.js'

const FN = 'models.fromTfjs'
const MAX_JSON_BYTES = 2 ** 26
const MAX_BYTES = 2 ** 31
const MAX_WEIGHTS = 65_536

/**
 * Reads a layers model of TensorFlow.js (`model.save('file://folder')`, or what its converter made of a
 * model of Keras), as a module that computes and trains as there. The layers are those of
 * {@link fromKeras}. No package is needed.
 * @param path of the file model.json; the files that it names lie beside it
 * @throws (rejects) as fromKeras; also for a graph model, which has no layers, and for files outside
 *   the folder
 */
export async function fromTfjs(
  path: string | URL,
  options: FromKerasOptions = {},
): Promise<KerasModel> {
  return fromFile(FN, path, options, read)
}

async function read(path: string, signal?: AbortSignal): Promise<KerasModel> {
  const json = asObject(await readJson(path, { limit: MAX_JSON_BYTES, signal }), 'it')
  if (json.format === 'graph-model')
    throw new Error(
      'it is a graph model, which has no layers: convert the model of Keras with --output_format tfjs_layers_model, or read it with models.fromKeras',
    )
  const given = asObject(json.modelTopology, 'modelTopology')
  const config = given.model_config ?? given
  const topology = topologyOf(config, true)
  const weights = await readWeights(dirname(path), json.weightsManifest, signal)
  return modelOf(topology, ({ name }) =>
    weights.filter((weight) => weight.name.startsWith(`${name}/`)),
  )
}

async function readWeights(
  folder: string,
  manifest: unknown,
  signal: AbortSignal | undefined,
): Promise<Weight[]> {
  if (!Array.isArray(manifest)) throw new Error('it is damaged: it has no list of weights')
  const found: Weight[] = []
  for (const [i, group] of manifest.entries()) {
    const { paths, weights } = asObject(group, `group ${i} of the weights`)
    if (!Array.isArray(paths) || !Array.isArray(weights) || paths.length > MAX_WEIGHTS)
      throw new Error(`it is damaged: group ${i} of the weights has no paths or weights`)
    if (weights.length + found.length > MAX_WEIGHTS)
      throw new Error(`it has more than ${MAX_WEIGHTS} weights`)
    const parts: Uint8Array[] = []
    let total = 0
    for (const path of paths) {
      const limit = MAX_BYTES - total
      const part = await readBytes(await inside(folder, path), { limit, signal })
      total += part.byteLength
      parts.push(part)
    }
    binding.checkRoom(total)
    found.push(...decoded(Buffer.concat(parts), weights))
  }
  return found
}

/** A file's path. @throws (rejects) Error for one that leaves the folder, also by a link */
async function inside(folder: string, path: unknown): Promise<string> {
  const refused = new Error(
    `its weights are in ${describe(path)}, which is not in the folder of the file`,
  )
  if (typeof path !== 'string' || path === '' || path.includes('\0') || isAbsolute(path))
    throw refused
  const leaves = (way: string): boolean =>
    way === '..' || way.startsWith(`..${sep}`) || isAbsolute(way)
  if (leaves(relative(folder, join(folder, path)))) throw refused
  const [top, real] = await Promise.all([realpath(folder), realpath(join(folder, path))]).catch(
    (error) => {
      throw new Error(`'${path}': ${reason(error)}`, { cause: error })
    },
  )
  if (leaves(relative(top, real))) throw refused
  return real
}

/** The arrays one after the other. */
function decoded(bytes: Uint8Array, weights: readonly unknown[]): Weight[] {
  let at = 0
  const result = weights.map((given, i): Weight => {
    const { name, shape, dtype, quantization } = asObject(given, `weight ${i}`)
    if (typeof name !== 'string') throw new Error(`it is damaged: weight ${i} has no name`)
    if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && n >= 0))
      throw new Error(`it is damaged: the weight '${name}' has no shape`)
    if (dtype !== 'float32')
      throw new Error(`the weight '${name}' is of the type ${describe(dtype)}; known is 'float32'`)
    const numel = shape.reduce((product: number, size: number) => product * size, 1)
    const reader = quantization === undefined ? null : asObject(quantization, 'the quantization')
    const width = reader === null ? 4 : widthOf(reader, name)
    const end = at + numel * width
    if (!(end <= bytes.byteLength))
      throw new Error(
        `the weight '${name}' lies at bytes ${at} to ${end} of ${bytes.byteLength}; the files are cut short`,
      )
    const own = bytes.subarray(at, end)
    at = end
    const values = reader === null ? DTYPES.F32.decode(own, name) : dequantized(own, reader, name)
    return { name, shape: shape as number[], values: Float32Array.from(values) }
  })
  if (at !== bytes.byteLength)
    throw new Error(`${bytes.byteLength - at} bytes of the weights belong to no weight`)
  return result
}

const WIDTHS: Record<string, number> = { float16: 2, uint8: 1, uint16: 2 }

function widthOf({ dtype }: Config, name: string): number {
  const width =
    typeof dtype === 'string' && Object.hasOwn(WIDTHS, dtype) ? WIDTHS[dtype] : undefined
  if (width === undefined)
    throw new Error(
      `the weight '${name}' is quantised as ${describe(dtype)}, which is not known here`,
    )
  return width
}

/** Half precision, or whole numbers between the least and the largest value. */
function dequantized(bytes: Uint8Array, { dtype, scale, min }: Config, name: string): Float32Array {
  if (dtype === 'float16') return DTYPES.F16.decode(bytes, name) as Float32Array
  if (typeof scale !== 'number' || typeof min !== 'number')
    throw new Error(`it is damaged: the weight '${name}' has no scale`)
  const steps = DTYPES[dtype === 'uint8' ? 'U8' : 'U16'].decode(bytes, name)
  return Float32Array.from(steps, (step) => step * scale + min)
}
