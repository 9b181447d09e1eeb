/** `fused-rnn convert`: weights and models from one kind of file to another. */
import { stat } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { io, models, type nn, onnx, type Tensor } from '../index.js'
import { kindOfModel } from '../models/model_folder.js'
import { UserError } from './errors.js'
import { exists, loadModel } from './model.js'

export interface ConvertOptions {
  key?: string
  prefix?: string
  overwrite?: boolean
}

/** What is read: weights, and the model that they are of where the file has one. */
interface Source {
  what: string
  weights: Map<string, Tensor>
  model: nn.Module | null
}

const TORCH = ['.pt', '.pth', '.ckpt', '.bin']
const KINDS =
  'a file of PyTorch (.pt, .pth, .ckpt, .bin) or Keras (.keras, .h5), model.json of TensorFlow.js, .onnx, .safetensors, or the folder of a model'

export async function convert(from: string, to: string, options: ConvertOptions): Promise<void> {
  const target = extname(to).toLowerCase()
  if (!['.safetensors', '.onnx', '.pt', '.pth'].includes(target))
    throw new UserError(
      `convert: '${to}' says no kind of file; expected .safetensors, .pt, .pth or .onnx`,
    )
  if (resolve(from) === resolve(to)) throw new UserError('convert: IN and OUT are the same file')
  if (options.overwrite !== true && (await exists(to)))
    throw new UserError(`convert: '${to}' is there already; --overwrite replaces it`)
  const source = await read(from, options)
  const weights = withoutPrefix(source.weights, options.prefix ?? '')
  if (target === '.onnx') {
    if (source.model === null)
      throw new UserError(
        `convert: '${from}' has weights alone; an ONNX file is made of the folder of a model`,
      )
    await onnx.export(source.model, to)
  } else if (target === '.safetensors')
    await io.safetensors.save(to, weights, { metadata: { format: 'pt' } })
  else await io.torch.save(to, weights)
  const values = [...weights.values()].reduce((sum, { numel }) => sum + numel, 0)
  process.stdout.write(`${source.what} → ${to}: ${weights.size} tensors, ${values} values\n`)
}

async function read(from: string, { key }: ConvertOptions): Promise<Source> {
  const info = await stat(from).catch(() => null)
  if (info === null) throw new UserError(`convert: there is no '${from}'`)
  if (info.isDirectory()) {
    if (key !== undefined) throw new UserError('convert: --key is for checkpoints of PyTorch')
    const model = await modelIn(from)
    return { what: model.constructor.name, weights: model.stateDict(), model }
  }
  const kind = extname(from).toLowerCase()
  if (TORCH.includes(kind)) {
    const value = await io.torch.load<unknown>(from)
    const weights = io.torch.stateDict(value, key === undefined ? {} : { key })
    return { what: from, weights, model: null }
  }
  if (key !== undefined) throw new UserError('convert: --key is for checkpoints of PyTorch')
  if (['.keras', '.h5', '.hdf5', '.json'].includes(kind)) {
    const model = await (kind === '.json' ? models.fromTfjs(from) : models.fromKeras(from))
    return { what: from, weights: model.stateDict(), model }
  }
  if (kind === '.onnx')
    return { what: from, weights: (await onnx.load(from)).stateDict(), model: null }
  if (kind === '.safetensors')
    return { what: from, weights: await io.safetensors.load(from), model: null }
  throw new UserError(`convert: '${from}' is of no kind that is read; expected ${KINDS}`)
}

/** Models of all kinds have `load`. */
async function modelIn(folder: string): Promise<nn.Module> {
  const kind = await kindOfModel(folder)
  const known: unknown = kind === null ? undefined : Reflect.get(models, kind)
  const { load } = Object(known) as { load?: (folder: string) => Promise<nn.Module> }
  return load === undefined ? loadModel(folder) : load.call(known, folder)
}

function withoutPrefix(weights: Map<string, Tensor>, prefix: string): Map<string, Tensor> {
  if (prefix === '') return weights
  const kept = [...weights].filter(([name]) => name.startsWith(prefix) && name !== prefix)
  if (kept.length === 0)
    throw new UserError(
      `convert: no key begins with '${prefix}'; there is '${[...weights.keys()][0]}'`,
    )
  return new Map(kept.map(([name, tensor]) => [name.slice(prefix.length), tensor]))
}
