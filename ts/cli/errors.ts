/** How the command line fails: one line on stderr, exit code 1. */

/** A mistake of the user's, with a message for them. */
export class UserError extends Error {}

/** The command was stopped by the user; the message says how to go on. Exit code 130. */
export class Interrupted extends Error {}

/** What all processes find wrong is said by the first, which ends the others in this time. */
const OTHERS_MS = 500

let processes = { rank: 0, size: 1 }

/** This process is one of several, which all end when one fails. */
export function oneOf(several: { rank: number; size: number }): void {
  processes = several
}

/** Prints what went wrong as one line and sets the exit code; FUSED_RNN_DEBUG=1 adds the stack. */
export function report(error: unknown): void {
  const { rank, size } = processes
  if (error instanceof Interrupted) {
    if (rank === 0) process.stderr.write(`${error.message}\n`)
    process.exitCode = 130
    return
  }
  process.exitCode = 1
  if (rank > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, OTHERS_MS)
  const who = size > 1 ? `rank ${rank} of ${size}: ` : ''
  process.stderr.write(`fused-rnn: ${who}${oneLine(error)}\n`)
  if (process.env.FUSED_RNN_DEBUG && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`)
  }
  // What waits for the others would keep the process.
  if (size > 1) process.exit()
}

/** The message without line breaks, our own name and the names of the functions that threw it. */
export function oneLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message
    .replace(/^fused-rnn: /, '')
    .replace(/(^|: )\[[\w.]+\] /g, '$1')
    .replace(/\s*\n\s*/g, ' ')
}
