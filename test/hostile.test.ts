/** Errors about values that cannot be looked at, or only with difficulty. */
import test from 'ava'
import { cat, tensor } from 'fused-rnn'
import { throwsWith } from './helpers.js'

test('an error about a value that throws when it is read', (t) => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const hostile = Object.defineProperty({}, 'constructor', {
    get() {
      throw new Error('not to be read')
    },
  })
  for (const value of [hostile, Symbol('s'), 2n ** 500n, 'x'.repeat(1000), [[[[[[[1]]]]]]]]) {
    // Nor is the text a long one.
    throwsWith(
      t,
      () => cat([value as never], 0),
      TypeError,
      /^\[cat\] tensors\[0\]: expected a tensor, got .{1,150}$/,
    )
  }
  throwsWith(t, () => cat([proxy as never], 0), TypeError, /proxy that has been revoked|\[cat\]/)
})

test('a hole in an array of tensors is no tensor', (t) => {
  const holes = [tensor([1]), tensor([2]), tensor([3])]
  delete holes[1]
  throwsWith(
    t,
    () => cat(holes, 0),
    TypeError,
    /\[cat\] tensors\[1\]: expected a tensor, got undefined/,
  )
})
