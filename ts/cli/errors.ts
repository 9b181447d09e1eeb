/** How the command line fails: one line on stderr, exit code 1. */

/** A mistake of the user's, with a message for them. */
export class UserError extends Error {}

/** The command was stopped by the user; the message says how to go on. Exit code 130. */
export class Interrupted extends Error {}

/** Prints what went wrong as one line and sets the exit code; FUSED_RNN_DEBUG=1 adds the stack. */
export function report(error: unknown): void {
  if (error instanceof Interrupted) {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 130
    return
  }
  process.exitCode = 1
  process.stderr.write(`fused-rnn: ${oneLine(error)}\n`)
  if (process.env.FUSED_RNN_DEBUG && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`)
  }
}

/** The message without line breaks, our own name and the names of the functions that threw it. */
export function oneLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message
    .replace(/^fused-rnn: /, '')
    .replace(/(^|: )\[[\w.]+\] /g, '$1')
    .replace(/\s*\n\s*/g, ' ')
}
