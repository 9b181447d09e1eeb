/**
 * What the types say, compiled by test/types.test.ts and never run. A line under @ts-expect-error
 * must be an error; `same` compares two types exactly, `is` asks whether a value has a type.
 */
import {
  type Callback,
  CSVLogger,
  type DType,
  data,
  type FitResult,
  type io,
  models,
  nn,
  noGrad,
  type onnx,
  optim,
  type Shape,
  Tensor,
  TensorBoardLogger,
  Trainer,
  type TrainerHandle,
  type TrainerOptions,
  tensor,
  utils,
  zeros,
} from 'fused-rnn'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare function same<A, B>(...check: Same<A, B> extends true ? [] : ['these differ']): void
declare function is<T>(value: T): void

// The comparison itself.
same<1, 1>()
// @ts-expect-error
same<1, number>()
// @ts-expect-error
same<[Tensor, Tensor], Tensor[]>()

// ---- Tensors ---------------------------------------------------------------------------------------

const x = tensor([[1, 2, 3]], { requiresGrad: true })
same<typeof x, Tensor>()
same<typeof x.shape, Shape>()
same<typeof x.dtype, DType>()
same<typeof x.grad, Tensor | null>()
const values = x.data()
same<Awaited<typeof values>, Float32Array | Int32Array>()
const number = x.item()
same<Awaited<typeof number>, number>()
// @ts-expect-error a tensor's values come by a promise
is<number>(x.item())
// @ts-expect-error a shape cannot be changed
x.shape[0] = 2
// @ts-expect-error
tensor([1], { dtype: 'float64' })
// @ts-expect-error
tensor(['1'])
// @ts-expect-error a shape is an array
zeros(2, 3)
// @ts-expect-error tensors are made by functions
new Tensor()
same<ReturnType<typeof x.max>, [values: Tensor, indices: Tensor]>()
is<Tensor>(noGrad(() => x.mul(2)))

// ---- Recurrent layers --------------------------------------------------------------------------------

const rnn = new nn.RNN(3, 4, { nonlinearity: 'relu', bidirectional: true })
const gru = new nn.GRU(3, 4, { numLayers: 2, batchFirst: true })
const lstm = new nn.LSTM(3, 4, { projSize: 2, dropout: 0.1 })
const h = zeros([1, 1, 4])

// An LSTM's state is a pair.
const [y, [hn, cn]] = lstm.forward(x, [h, h])
same<typeof y, Tensor>()
same<typeof hn, Tensor>()
same<typeof cn, Tensor>()
lstm.forward(x)
lstm.forward(x, null)
// @ts-expect-error
lstm.forward(x, h)
// @ts-expect-error
lstm.forward(x, [h])
// @ts-expect-error
lstm.forward(x, [h, h, h])

// A GRU's and an RNN's are not.
for (const layer of [gru, rnn]) {
  const [output, state] = layer.forward(x, h)
  same<typeof output, Tensor>()
  same<typeof state, Tensor>()
}
// @ts-expect-error
gru.forward(x, [h, h])
// @ts-expect-error
rnn.forward(x, [h, h])
// @ts-expect-error
is<readonly [Tensor, Tensor]>(gru.forward(x, h)[1])

// A packed sequence comes out as one.
const packed = nn.utils.rnn.packPaddedSequence(x, [1])
const [packedOutput] = lstm.forward(packed)
same<typeof packedOutput, typeof packed>()
// @ts-expect-error so it is no tensor
packedOutput.add(1)
const [padded] = nn.utils.rnn.padPackedSequence(packed)
same<typeof padded, Tensor>()

// Options that only one of them has.
// @ts-expect-error
new nn.GRU(3, 4, { projSize: 2 })
// @ts-expect-error
new nn.LSTM(3, 4, { nonlinearity: 'relu' })
// @ts-expect-error
new nn.RNN(3, 4, { nonlinearity: 'sigmoid' })
// @ts-expect-error PyTorch's name, but not in camelCase
new nn.LSTM(3, 4, { num_layers: 2 })
// @ts-expect-error the sizes are needed
new nn.LSTM(3)

// Cells, alike.
same<ReturnType<nn.LSTMCell['forward']>, [h: Tensor, c: Tensor]>()
same<ReturnType<nn.LayerNormLSTMCell['forward']>, [h: Tensor, c: Tensor]>()
same<ReturnType<nn.GRUCell['forward']>, Tensor>()
// @ts-expect-error
new nn.LSTMCell(3, 4).forward(x, h)
// @ts-expect-error
new nn.GRUCell(3, 4).forward(x, [h, h])

// Parameters have PyTorch's names; which of them there are is a matter of the options, so with
// noUncheckedIndexedAccess each may be missing.
same<typeof lstm.weight_ih_l0, Tensor | undefined>()
same<typeof gru.bias_hh_l1_reverse, Tensor | undefined>()
// @ts-expect-error
lstm.weight_xh_l0
const normalised = new nn.LayerNormLSTM(3, 4, { projSize: 2 })
same<typeof normalised.gain_c_l0_reverse, Tensor | undefined>()

// ---- Modules -------------------------------------------------------------------------------------------

class Net extends nn.Module {
  layer = new nn.GRU(3, 4)
  decoder = new nn.Linear(4, 2)
  override forward(input: Tensor, state?: Tensor): [Tensor, Tensor] {
    const [output, next] = this.layer.forward(input, state)
    return [this.decoder.forward(output), next]
  }
}
const net = new Net()
same<ReturnType<typeof net.train>, typeof net>()
same<ReturnType<typeof net.to>, typeof net>()
same<ReturnType<typeof net.stateDict>, Map<string, Tensor>>()
same<ReturnType<typeof net.parameters>, Tensor[]>()
// @ts-expect-error a module has a forward
is<unknown>(class extends nn.Module {})
// @ts-expect-error
new nn.Module()
// @ts-expect-error
new nn.CrossEntropyLoss({ reduction: 'average' })

// ---- Optimisers ----------------------------------------------------------------------------------------

const adam = new optim.Adam(net.parameters(), { lr: 1e-3, maxGradNorm: 1 })
const stepped = adam.step()
const stepLoss = adam.step(async () => 1)
same<typeof stepLoss, Promise<number>>()
same<typeof stepped, Promise<void>>()
// @ts-expect-error
new optim.Adam(net.parameters(), { momentum: 0.9 })
// @ts-expect-error
new optim.SGD(net.parameters(), { betas: [0.9, 0.999] })
// @ts-expect-error the schedule of an optimiser, not of a model
new optim.lrScheduler.StepLR(net, 1)

// ---- Training, text, files -------------------------------------------------------------------------------

const vocabulary = data.Vocabulary.fromText('text')
const model = new models.LanguageModel({ vocabulary, cell: 'lstm', hiddenSize: 8 })
const batches = new data.SequentialBatches(vocabulary.encode('text'), {
  batchSize: 1,
  sequenceLength: 2,
})
const fitted = new Trainer({ maxEpochs: 1 }).fit(model, batches)
same<typeof fitted, Promise<FitResult>>()
is<AsyncIterable<number>>(model.generate('t', { length: 3 }))
// @ts-expect-error
new models.LanguageModel({ vocabulary, cell: 'transformer' })
// @ts-expect-error this model does not say what a step of training is
new Trainer().fit(net, batches)
// @ts-expect-error
new Trainer({ gradientClipAlgorithm: 'l2' })
same<ReturnType<typeof io.safetensors.load>, Promise<Map<string, Tensor>>>()
new Trainer({ logger: [new CSVLogger('logs'), new TensorBoardLogger('logs', { version: 3 })] })
// @ts-expect-error
new Trainer({ logger: 'csv' })

// ---- ONNX ------------------------------------------------------------------------------------------------

declare const graph: onnx.Graph
const input = graph.input('input', 'float32', ['sequence', 'batch', 2])
same<ReturnType<typeof onnx.serialize>, Promise<Uint8Array>>()
const afterLstm = graph.call(new nn.LSTM(2, 3), input, [input, input])
same<typeof afterLstm, [onnx.Value, [onnx.Value, onnx.Value]]>()
const afterGru = graph.call(new nn.GRU(2, 3), input, input)
same<typeof afterGru, [onnx.Value, onnx.Value]>()
const afterLinear = graph.call(new nn.Linear(2, 3), input)
same<typeof afterLinear, onnx.Value>()
// @ts-expect-error an LSTM's state is a pair
graph.call(new nn.LSTM(2, 3), input, input)
// @ts-expect-error a GRU's is not
graph.call(new nn.GRU(2, 3), input, [input, input])
// @ts-expect-error
graph.input('input', 'float64', null)

// ---- Callbacks -------------------------------------------------------------------------------------

declare function needsTrainer(trainer: Trainer): void
declare function needsHandle(trainer: TrainerHandle): void

// What a callback is given is a Trainer, also where its type is not written down.
const named: Callback = {
  onValidationEnd(trainer) {
    same<typeof trainer, Trainer>()
    needsTrainer(trainer)
    needsHandle(trainer)
  },
  onFitEnd: (trainer: Trainer) => trainer.saveCheckpoint('last'),
}
class Watcher implements Callback {
  onTrainEpochEnd(trainer: Trainer): void {
    trainer.shouldStop = trainer.callbackMetrics.valLoss === 0
  }
  onTrainBatchEnd(trainer: TrainerHandle): void {
    is<number>(trainer.progress.globalStep)
    // @ts-expect-error a handle starts no training
    trainer.fit
  }
}
new Trainer({
  callbacks: [named, new Watcher(), { onFitStart: (trainer) => needsTrainer(trainer) }],
})
same<Trainer['callbacks'], readonly Callback[]>()
same<TrainerOptions['callbacks'], readonly Callback[] | undefined>()

// ---- Other addons ----------------------------------------------------------------------------------

same<ReturnType<typeof utils.dlpack.toDlpack>, Promise<utils.dlpack.DlpackCapsule>>()
same<ReturnType<typeof utils.dlpack.fromDlpack>, Tensor>()
// @ts-expect-error
utils.dlpack.fromDlpack(x)
// @ts-expect-error
utils.dlpack.fromDlpack({})
