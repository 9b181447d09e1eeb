/** Tests that are left out where kernels are emulated, and why. They have run on the CPU before. */
import test, { type ExecutionContext } from 'ava'
import { emulated } from './helpers.js'

type Body = (t: ExecutionContext) => unknown

const unlessEmulated =
  (why: string, run: (title: string, body: Body) => void) =>
  (title: string, body: Body): void =>
    emulated ? test.skip(`${title} (skipped: ${why})`, body as never) : run(title, body)

/** A test of many steps: native/cuda_host is slow. */
export const long = unlessEmulated('too many steps for kernels that are emulated', test.serial)

/** A test of what no device has a part in. */
export const deviceless = unlessEmulated('the same on every device', test)
