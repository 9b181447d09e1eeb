import test from 'ava'
import { nn, optim, synchronize, type Tensor, Trainer, tensor, zeros } from 'fused-rnn'
import { gatherRows } from '../dist/ops/gather.js'
import { cases } from './cases.js'
import { closeTo, rejectsWith, throwsWith } from './helpers.js'

const int = (values: number[]) => tensor(values, { dtype: 'int32' })
const rows = (x: Tensor, index: Tensor) => gatherRows('embedding', x, index)

cases('gather', {
  rows,
  'rows of width 1': rows,
  'rows many': rows,
  'rows none': rows,
  paddingIdx: (x: Tensor, index: Tensor) => gatherRows('embedding', x, index, { paddingIdx: 2 }),
  'indexSelect 0': (x: Tensor, index: Tensor) => x.indexSelect(0, index),
  'indexSelect 1': (x: Tensor, index: Tensor) => x.indexSelect(1, index),
  'indexSelect -1': (x: Tensor, index: Tensor) => x.indexSelect(-1, index),
})

test('gather: -1 gives a row of the fill value and no gradient', async (t) => {
  const x = tensor([[1, 2], [3, 4]], { requiresGrad: true }) // biome-ignore format: a matrix
  const out = gatherRows('pad', x, int([1, -1, 1]), { fill: -5 })
  await closeTo(t, out, [3, 4, -5, -5, 3, 4], 0)
  out.backward(tensor([1, 2, 3, 4, 5, 6], { shape: [3, 2] }))
  await closeTo(t, x.grad, [0, 0, 6, 8], 0)
  const whole = gatherRows('pad', int([7, 8]), int([-1, 0]), { fill: -100 })
  t.is(whole.dtype, 'int32')
  await closeTo(t, whole, [-100, 7], 0)
})

test('gather: a wrong index rejects the next promise with the operation and the index', async (t) => {
  const x = zeros([3, 2])
  const message = /\[embedding\] index\[1\]: .*at least 0 and below 3, got 3/
  await rejectsWith(t, rows(x, int([0, 3])).data(), Error, message)
  await rejectsWith(
    t,
    rows(x, int([-2]))
      .add(1)
      .data(),
    Error,
    /\[embedding\] index\[0\].*got -2/,
  )
  const unread = rows(x, int([9]))
  await rejectsWith(t, synchronize(), Error, /got 9/)
  await rejectsWith(t, unread.data(), Error, /got 9/)
  await closeTo(t, rows(x, int([2])), [0, 0], 0)
})

test('an index that an embedding does not have: its sizes, in a Trainer also its name', async (t) => {
  const layer = new nn.Embedding(4, 2)
  const message = /^\[nn\.Embedding\(4, 2\)\] index\[4\]: .*below 4, got 4$/
  const indices = tensor(Int32Array.of(0, 1, 2, 3, 4, 0), { shape: [3, 2] })
  await rejectsWith(t, layer.forward(indices).data(), Error, message)

  class Net extends nn.Module {
    readonly words = new nn.Embedding(4, 2)
    readonly tags = new nn.Embedding(3, 2)
    override forward(x: Tensor): Tensor {
      return this.words.forward(x).add(this.tags.forward(x)).sum()
    }
    trainingStep(x: Tensor): Tensor {
      return this.forward(x)
    }
  }
  const net = new Net()
  const trainer = new Trainer({ maxEpochs: 1, progressBar: false })
  const optimizer = new optim.SGD(net.parameters(), { lr: 0.1 })
  await rejectsWith(
    t,
    trainer.fit(net, [int([0, 3])], null, { optimizer }),
    RangeError,
    /^\[Trainer\] tags, nn\.Embedding\(3, 2\): index\[1\]: .*below 3, got 3$/,
  )
})

test('gather: errors', (t) => {
  const x = zeros([3, 2])
  throwsWith(
    t,
    () => rows(x, zeros([2])),
    TypeError,
    /\[embedding\] index: expected an int32 tensor/,
  )
  throwsWith(t, () => rows(x, [1] as never), TypeError, /\[embedding\] index: expected an int32/)
  throwsWith(t, () => rows(zeros([]), int([0])), RangeError, /\[embedding\] input: .*one dimension/)
  throwsWith(t, () => x.indexSelect(2, int([0])), RangeError, /\[indexSelect\] dim: .*got 2/)
  throwsWith(
    t,
    () => x.indexSelect(0, zeros([1, 1], { dtype: 'int32' })),
    RangeError,
    /\[indexSelect\] index: expected one dimension, got \(1, 1\)/,
  )
})
