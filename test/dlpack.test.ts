/** utils.dlpack: tensors that share memory, by way of capsules. test/embed.test.ts has another addon. */
import test, { type ExecutionContext } from 'ava'
import { nn, optim, tensor, utils, zeros } from 'fused-rnn'
import { closeTo, randomTensor, rejectsWith, runScript, throwsWith } from './helpers.js'

const { fromDlpack, toDlpack } = utils.dlpack

test.serial('there and back again: shape, type, device and values', async (t) => {
  for (const [values, shape] of [
    [Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]],
    [Int32Array.of(1, -2), [2, 1]],
    [Float32Array.of(7), []],
    [new Float32Array(0), [0, 4]],
  ] as const) {
    const one = tensor(values, { shape })
    const other = fromDlpack(await toDlpack(one))
    t.deepEqual([...other.shape], [...shape])
    t.is(other.dtype, one.dtype)
    t.is(other.device, one.device)
    t.false(other.requiresGrad)
    t.deepEqual(await other.data(), values)
  }
})

test.serial('it is one memory, in both directions', async (t) => {
  const weight = tensor([1, 2, 3], { requiresGrad: true })
  const other = fromDlpack(await toDlpack(weight.detach()))
  weight.mul(weight).sum().backward()
  await new optim.SGD([weight], { lr: 0.5 }).step()
  t.deepEqual([...(await other.data())], [0, 0, 0])
  const linear = new nn.Linear(3, 1, { bias: false })
  linear.weight = nn.Parameter(other.reshape([1, 3]))
  linear.loadStateDict(new Map([['weight', tensor([[4, 5, 6]])]]))
  t.deepEqual([...(await weight.data())], [4, 5, 6])
})

test.serial('values that are still being computed, views and gradients', async (t) => {
  const x = randomTensor([64, 64], 1)
  let product = x
  for (let i = 0; i < 40; i++) product = product.matmul(x).tanh()
  const shared = fromDlpack(await toDlpack(product))
  t.deepEqual(await shared.data(), await product.data())
  const row = fromDlpack(await toDlpack(product.slice(0, 1, 2)))
  t.deepEqual([...row.shape], [1, 64])
  t.deepEqual(await row.data(), (await product.data()).slice(64, 128))
  // One-hot rows are written down for it.
  const hot = fromDlpack(await toDlpack(nn.functional.oneHot(tensor(Int32Array.of(2, 0)), 3)))
  t.deepEqual([...(await hot.data())], [0, 0, 1, 1, 0, 0])

  const leaf = fromDlpack(await toDlpack(randomTensor([5, 2, 3], 2)))
  leaf.requiresGrad = true
  const lstm = new nn.LSTM(3, 4)
  const plain = tensor((await leaf.data()) as Float32Array, {
    shape: [5, 2, 3],
    requiresGrad: true,
  })
  for (const input of [leaf, plain]) lstm.forward(input)[0].sum().backward()
  await closeTo(t, leaf.grad, await (plain.grad as typeof leaf).data(), 0)
})

/** In a process of its own: other tests run beside these. */
async function counts(t: ExecutionContext, body: string): Promise<void> {
  const { code, stderr } = await runScript(
    `import { memoryStats, synchronize, tensor, utils } from 'fused-rnn'
    const { fromDlpack, toDlpack } = utils.dlpack
    const buffers = () => memoryStats().buffers
    function assert(condition, message) { if (!condition) throw new Error(message + ': ' + buffers()) }
    await tensor([0]).data() // opens the device
    ${body}`,
    { flags: ['--expose-gc'] },
  )
  t.is(code, 0, stderr)
}

test('the memory lasts as long as one share of it does', async (t) => {
  await counts(
    t,
    `const before = buffers()
    const one = tensor([1, 2, 3])
    const capsule = await toDlpack(one)
    one[Symbol.dispose]()
    await synchronize()
    assert(buffers() === before + 1, 'the capsule has one')
    const other = fromDlpack(capsule)
    const third = other.reshape([3, 1])
    other[Symbol.dispose]()
    assert(String(await third.data()) === '1,2,3', 'the values')
    third[Symbol.dispose]()
    await synchronize()
    await synchronize()
    assert(buffers() === before, 'not given back')`,
  )
})

test('a capsule that is not imported is collected', async (t) => {
  await counts(
    t,
    `const before = buffers()
    await (async () => {
      assert(typeof (await toDlpack(tensor([1, 2, 3]))) === 'object', 'a capsule')
    })()
    for (let i = 0; i < 50 && buffers() > before; i++) {
      gc()
      await new Promise((resolve) => setImmediate(resolve))
      await synchronize()
    }
    assert(buffers() <= before, 'not collected')`,
  )
})

test.serial('wrong arguments', async (t) => {
  const full = await toDlpack(zeros([2]))
  fromDlpack(full)
  throwsWith(
    t,
    () => fromDlpack(full),
    TypeError,
    /^\[fromDlpack\] capsule: expected a full one, got one that somebody has emptied$/,
  )
  for (const value of [{}, null, undefined, 7, zeros([1])])
    throwsWith(
      t,
      () => fromDlpack(value as never),
      TypeError,
      /^\[fromDlpack\] capsule: expected a capsule of toDlpack\(\), got /,
    )
  await rejectsWith(
    t,
    toDlpack([1] as never),
    TypeError,
    /^\[toDlpack\] tensor: expected a tensor, got \[1\]$/,
  )
  await rejectsWith(
    t,
    toDlpack(zeros([1], { requiresGrad: true })),
    TypeError,
    /^\[toDlpack\] tensor: expected one that requires no gradient \(share tensor.detach\(\)\)/,
  )
  const gone = zeros([1])
  gone[Symbol.dispose]()
  await rejectsWith(t, toDlpack(gone), TypeError, /of shape \(1,\) has been disposed$/)
  const failed = nn.functional.embedding(tensor(Int32Array.of(9)), zeros([2, 2]))
  await rejectsWith(t, toDlpack(failed), Error, /^\[embedding\] index\[0\]: .*got 9$/)
})
