/**
 * Runs the properties of one area in this process, which may not survive it: AREA RUNS SEED. What
 * does not hold goes to standard error, and makes the exit code 1.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import '../helpers.js'
import { argumentProperties } from './arguments.js'
import { arrayProperties } from './arrays.js'
import { check, type Property } from './run.js'
import { trainingProperties } from './training.js'
import { gradientProperties, valueProperties } from './values.js'

const areas: Record<string, Property[]> = {
  values: valueProperties,
  gradients: gradientProperties,
  training: trainingProperties,
  arguments: argumentProperties,
  arrays: arrayProperties,
}

// Some calls write files.
const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-properties-'))
process.chdir(folder)
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
process.removeAllListeners('warning').on('warning', () => {})

const [area = '', runs, seed, only] = process.argv.slice(2)
for (const [i, property] of (areas[area] as Property[]).entries()) {
  if (only !== undefined && property.name !== only) continue
  const began = performance.now()
  try {
    await check(property, Number(runs), Number(seed) + i)
  } catch (error) {
    process.exitCode = 1
    console.error((error as Error).message.slice(0, 4000))
  }
  if (process.env.FUSED_RNN_PROPERTY_TIMES)
    console.log(property.name, Math.round(performance.now() - began), 'ms')
}
