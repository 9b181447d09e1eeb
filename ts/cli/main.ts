#!/usr/bin/env node
import { report } from './errors.js'
import { makeProgram } from './program.js'

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  report(new Error(`cannot write the output: ${error.message}`))
  process.exit(1)
})

try {
  await makeProgram().parseAsync()
} catch (error) {
  report(error)
}
