/** `train --trace`: what the first steps of a training cost, as a picture. */

import { dirname } from 'node:path'
import { autograd, type Callback } from '../index.js'
import { makeFolders } from '../io/folders.js'
import { reason, writeWhole } from '../io/whole_file.js'
import { UserError } from './errors.js'

/** The steps in a trace: enough to see the first, which are slower, and the later ones. */
export const TRACED_STEPS = 20

/**
 * A callback that writes a Chrome trace of the first steps to a file.
 * @param written told once it is there
 */
export function tracer(file: string, written: (steps: number) => void): Callback {
  let profile: InstanceType<typeof autograd.profiler.profile> | null = null
  let steps = 0
  const finish = async (): Promise<void> => {
    const running = profile
    profile = null
    if (running === null) return
    await running.stop()
    await inFile(file, () => running.exportChromeTrace(file))
    written(steps)
  }
  return {
    async onFitStart() {
      // A place that cannot be written is found before any work is done.
      await inFile(file, async () => {
        await makeFolders(dirname(file))
        await writeWhole(file, '{"traceEvents":[]}')
      })
    },
    onTrainBatchStart() {
      if (steps === 0) profile ??= new autograd.profiler.profile()
    },
    onTrainBatchEnd: () => (++steps === TRACED_STEPS ? finish() : undefined),
    onFitEnd: finish,
    async onException() {
      // What has failed is told by the training.
      await finish().catch(() => {})
    },
  }
}

async function inFile(file: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (cause) {
    throw new UserError(`cannot write the trace '${file}': ${reason(cause)}`, { cause })
  }
}
