/** Models as ONNX files; as `torch.onnx.export`. */
import { typeError } from '../errors.js'
import { checkPath } from '../io/path.js'
import type { Message } from '../io/protobuf.js'
import { reason, writeWhole } from '../io/whole_file.js'
import { Module } from '../nn/module.js'
import { VERSION } from '../version.js'
import { Graph } from './graph.js'
import { exportLayer } from './layers.js'

/** A model that can be exported: one that says what it is made of. LanguageModel and models of tasks are. */
export interface OnnxModule extends Module {
  /** Declares inputs and outputs, and what is between them; not asynchronous. */
  toOnnx(graph: Graph): void
}

/** What a file of protocol buffers can have. */
const MAX_BYTES = 2 ** 31 - 1

/**
 * Writes a model as an ONNX file (opset 17), as it computes in evaluation mode, with its weights as
 * they are at the call.
 *
 * Lengths and batch sizes vary. Layers that recur have the inputs `input`, `h0` and, for LSTMs, `c0`,
 * and the outputs `output`, `hn`, `cn`, shaped as those of forward (an SLSTM also `n0`, `m0`, `nn`,
 * `mn`; an SRU `c0` and `cn` alone); other layers `input` and `output`; a LanguageModel `tokens` and
 * `logits` in their place. Indices are int32. A model of one's own has a method `toOnnx`.
 *
 * LSTM, GRU and RNN are operators of ONNX; all other recurrent layers, and an LSTM with a projection,
 * are loops (Scan).
 *
 * A Linear, an Embedding or a Sequential alone takes inputs of any number of dimensions, so that the
 * file declares none. Runtimes take such files; Python's `onnx.checker` refuses them.
 *
 * @param model a recurrent layer, an Embedding, a Linear, a Sequential of the last two, or a module
 *   with `toOnnx`
 * @throws (rejects) TypeError for zoneout, int8 weights, layers of nn.recurrent, and what is no such
 *   module; Error when the file cannot be written
 */
export async function exportModel(model: Module | OnnxModule, path: string | URL): Promise<void> {
  const fn = 'onnx.export'
  const file = checkPath(fn, 'path', path, 'the path of a file')
  const { parts } = await build(fn, model)
  try {
    await writeWhole(file, parts)
  } catch (error) {
    throw new Error(`[${fn}] ${file}: ${reason(error)}`, { cause: error })
  }
}

/** The bytes that {@link exportModel} writes. */
export async function serialize(model: Module | OnnxModule): Promise<Uint8Array> {
  return (await build('onnx.serialize', model)).toBytes()
}

async function build(fn: string, model: Module | OnnxModule): Promise<Message> {
  if (!(model instanceof Module)) throw typeError(fn, 'model', 'a module', model)
  const graph = new Graph(fn, model)
  if ('toOnnx' in model) model.toOnnx(graph)
  else exportLayer(graph, fn, model)
  const message = await graph.finish(model.constructor.name, VERSION)
  if (message.length > MAX_BYTES) {
    const limit = 'weights of less than 2 GiB, as the format has it'
    throw new RangeError(`[${fn}] model: expected ${limit}, got ${message.length} bytes`)
  }
  return message
}
