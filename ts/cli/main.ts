#!/usr/bin/env node
import { report } from './errors.js'
import { makeProgram } from './program.js'

/** Of a stream that nobody reads any more: a pipe, or a terminal that has been closed. */
const UNREAD = ['EPIPE', 'EIO', 'ERR_STREAM_DESTROYED']

// A reader that has seen enough (`| head`) is no failure, and no reason to lose a training.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (UNREAD.includes(error.code ?? '')) {
    if (process.argv[2] !== 'train') process.exit(0)
    return
  }
  report(new Error(`cannot write the output: ${error.message}`))
  process.exit(1)
})

// There is nowhere to say it, and a training goes on to its checkpoint.
process.stderr.on('error', () => {})

try {
  await makeProgram().parseAsync()
} catch (error) {
  report(error)
}
