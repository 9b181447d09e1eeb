/** `fused-rnn convert`, as its users run it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { data, io, models, nn, onnx, randn } from 'fused-rnn'
import { closeTo, onCpu } from './helpers.js'
import { run as runProgram } from './limits.js'

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const fixture = (name: string): string =>
  fileURLToPath(new URL(`../test/fixtures/torch/${name}.pt`, import.meta.url))

let cwd: string
test.before(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'fused-rnn-convert-'))
})
test.after.always(() => rm(cwd, { recursive: true, force: true }))

const convert = (...args: string[]) =>
  runProgram(process.execPath, [main, 'convert', ...args], {
    cwd,
    env: { ...process.env, FUSED_RNN_DEBUG: '' },
    limitSeconds: 600,
  })

// Files go through the CPU on every device.
const serial = onCpu ? test.serial : test.serial.skip

serial('a state dict to safetensors and back', async (t) => {
  const there = await convert(fixture('lstm'), 'lstm.safetensors')
  t.is(there.stderr, '')
  t.regex(there.stdout, /lstm\.pt → lstm\.safetensors: 16 tensors, 736 values/)
  t.is((await convert('lstm.safetensors', 'lstm.pt')).code, 0)
  const [a, b] = [await io.torch.load(fixture('lstm')), await io.torch.load(join(cwd, 'lstm.pt'))]
  t.deepEqual([...b.keys()].sort(), [...a.keys()].sort())
  for (const [name, tensor] of a) t.deepEqual(await b.get(name)?.data(), await tensor.data())
})

serial('the weights in a checkpoint, without a prefix', async (t) => {
  const args = [fixture('checkpoint'), 'c.safetensors', '--key', 'state_dict', '--prefix', 'model.']
  t.is((await convert(...args)).code, 0)
  const keys = [...(await io.safetensors.load(join(cwd, 'c.safetensors'))).keys()]
  t.true(keys.includes('lstm.weight_ih_l0'))
  t.regex((await convert(...args)).stderr, /is there already; --overwrite/)
  t.is((await convert(...args, '--overwrite')).code, 0)
  t.regex((await convert(...args, '--overwrite', '--prefix', 'x.')).stderr, /no key begins with/)
})

serial('a model to ONNX and to a state dict', async (t) => {
  const vocabulary = data.Vocabulary.fromText('abc')
  const model = new models.LanguageModel({ vocabulary, embeddingSize: 2, hiddenSize: 3 })
  await model.save(join(cwd, 'model'))
  t.is((await convert('model', 'model.onnx')).stderr, '')
  t.true((await readFile(join(cwd, 'model.onnx'))).length > 100)
  t.is((await convert('model', 'model.pt')).code, 0)
  model.loadStateDict(await io.torch.load(join(cwd, 'model.pt')))
  t.pass()
})

serial('the weights of an ONNX file, and back into it', async (t) => {
  const lstm = new nn.LSTM(3, 4, { bidirectional: true })
  await onnx.export(lstm, join(cwd, 'lstm.onnx'))
  const there = await convert('lstm.onnx', 'of-onnx.safetensors', '--prefix', 'layers.LSTM_1.')
  t.is(there.stderr, '')
  t.regex(there.stdout, /lstm\.onnx → of-onnx\.safetensors: 8 tensors, 288 values/)
  const weights = await io.safetensors.load(join(cwd, 'of-onnx.safetensors'))
  for (const [name, tensor] of lstm.stateDict())
    t.deepEqual(await weights.get(name)?.data(), await tensor.data(), name)
  // Changed there, and taken into the model of the file again.
  t.is((await convert('lstm.onnx', 'of-onnx.pt')).code, 0)
  const state = await io.torch.load(join(cwd, 'of-onnx.pt'))
  const model = await onnx.load<ReturnType<typeof randn>[]>(join(cwd, 'lstm.onnx'))
  model.loadStateDict(new Map([...state].map(([name, tensor]) => [name, tensor.mul(2)])))
  const twice = new nn.LSTM(3, 4, { bidirectional: true })
  twice.loadStateDict(new Map([...weights].map(([name, tensor]) => [name, tensor.mul(2)])))
  const [x, h, c] = [randn([5, 2, 3]), randn([2, 2, 4]), randn([2, 2, 4])]
  const [output] = model.forward(x, h, c)
  await closeTo(t, output, twice.forward(x, [h, c])[0], 1e-6)
  t.regex((await convert('lstm.onnx', 'other.onnx')).stderr, /weights alone/)
})

serial('the weights of Keras and TensorFlow.js', async (t) => {
  const file = (name: string) => fileURLToPath(new URL(`../test/fixtures/${name}`, import.meta.url))
  t.is((await convert(file('keras/text.keras'), 'keras.pt')).stderr, '')
  t.is((await convert(file('tfjs/text/model.json'), 'tfjs.safetensors')).stderr, '')
  const model = await models.fromKeras(file('keras/text.keras'))
  model.loadStateDict(await io.torch.load(join(cwd, 'keras.pt')))
  t.is((await io.safetensors.load(join(cwd, 'tfjs.safetensors'))).size, 11)
  t.regex((await convert(file('keras/text.keras'), 'keras.onnx')).stderr, /KerasModel|module/)
})

serial('what cannot be converted is said in one line', async (t) => {
  const refused: [string[], RegExp][] = [
    [['nothing.pt', 'a.pt'], /there is no 'nothing\.pt'/],
    [[fixture('lstm'), 'a.txt'], /says no kind of file/],
    [[fixture('lstm'), 'a.onnx'], /weights alone/],
    [[main, 'a.pt'], /of no kind that is read/],
    [[fixture('harmful'), 'a.pt'], /nothing in a file is ever called/],
    [[fixture('number'), 'a.pt'], /expected a dict with a state dict in it, got 5/],
    [[fixture('lstm'), fixture('lstm')], /the same file/],
  ]
  for (const [args, message] of refused) {
    const { code, stderr } = await convert(...args)
    t.is(code, 1)
    t.regex(stderr, message)
    t.is(stderr.trim().split('\n').length, 1)
  }
})
