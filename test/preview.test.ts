/** What console.log shows of a tensor. */
import { inspect } from 'node:util'
import test from 'ava'
import { ones, synchronize, type Tensor, tensor, zeros } from 'fused-rnn'
import { onCpu } from './helpers.js'

/** After the first line. */
async function shown(x: Tensor): Promise<string> {
  await x.data()
  return x.toString().split('\n').slice(1).join('\n')
}

test.serial('numbers, whole numbers, booleans', async (t) => {
  t.is(
    await shown(
      tensor([
        [1, -2.5],
        [0.25, 30],
      ]),
    ),
    '[[ 1.0000, -2.5000],\n [ 0.2500, 30.0000]]',
  )
  t.is(await shown(tensor([1, 20, -3])), '[ 1, 20, -3]')
  t.is(await shown(tensor([1, NaN, -Infinity])), '[        1,       NaN, -Infinity]')
  t.is(await shown(tensor([1e-6, 1])), '[1.0000e-6, 1.0000e+0]')
  t.is(await shown(tensor([1, -7], { dtype: 'int32' })), '[ 1, -7]')
  t.is(await shown(tensor([true, false])), '[ true, false]')
  t.is(
    await shown(
      tensor([
        [[1], [2]],
        [[3], [4]],
      ]),
    ),
    '[[[1],\n  [2]],\n\n [[3],\n  [4]]]',
  )
  t.is(await shown(zeros([2, 0])), '[[],\n []]')
})

test.serial('the head, and values of one element', async (t) => {
  const x = tensor(2.5)
  await x.item()
  t.regex(x.toString(), /^Tensor\(shape=\(\), dtype=float32.*\): 2\.5000$/)
  t.is(inspect(x), x.toString())
  t.is(`${x}`, x.toString())
  x[Symbol.dispose]()
  t.regex(x.toString(), /^Tensor\(shape=\(\), dtype=float32[^\n]*\)$/)
})

test.serial('of large arrays the first and last', async (t) => {
  const x = ones([1000, 1000]).mul(7)
  await synchronize()
  if (onCpu) {
    await x.data()
    t.regex(x.toString(), /\n\[\[7, 7, 7, …, 7, 7, 7\],\n(.*\n)+ …,\n(.*\n)+ \[7, .*7\]\]$/)
  }
  t.true(x.toString().length < 500)
  const deep = ones([7, 7, 7, 7, 7, 7, 7])
  await synchronize()
  t.true(deep.toString().length < 5000)
  const row = await shown(tensor(Array.from({ length: 100 }, (_, i) => i)))
  t.true(row.split('\n').every((line) => line.length <= 80))
})

test.serial('what is not there yet, or has changed, is not shown', async (t) => {
  const big = ones([600, 600])
  const pending = big.matmul(big).sum()
  t.notThrows(() => pending.toString())
  await pending.data()
  t.regex(pending.toString(), /: 216000000$|: 2\.16/)
  const index = tensor([9], { dtype: 'int32' })
  const failed = ones([3]).indexSelect(0, index)
  await t.throwsAsync(failed.data())
  t.notRegex(failed.toString(), /\n/)
})

test.serial('what has been waited for is there at once, each time', async (t) => {
  if (!onCpu) return t.pass()
  const big = ones([96, 96])
  for (let i = 0; i < 500; i++) {
    const product = big.matmul(big)
    const other = big.add(i)
    // Two promises that one turn of the event loop may settle.
    await Promise.all([product.data(), other.data()])
    if (!/\n\[\[96, 96/.test(product.toString())) return t.fail(`the ${i}th: ${product}`)
    await big.matmul(big).sum().item()
    if (!/\n/.test(other.toString())) return t.fail(`after the ${i}th number: ${other}`)
  }
  t.pass()
})
