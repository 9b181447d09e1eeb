#!/usr/bin/env node
import { report } from './errors.js'
import { makeProgram } from './program.js'

// A reader that has seen enough (`| head`) is no failure, and no reason to lose a training.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED') {
    if (process.argv[2] !== 'train') process.exit(0)
    return
  }
  report(new Error(`cannot write the output: ${error.message}`))
  process.exit(1)
})

try {
  await makeProgram().parseAsync()
} catch (error) {
  report(error)
}
