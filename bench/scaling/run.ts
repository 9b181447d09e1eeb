/**
 * `npm run bench:scaling`: from one process to two, a thread each, under mpirun (Open MPI). Strong: the
 * workload's batch in parts. Weak: a whole batch for each process. Prints a table in Markdown; the
 * columns are explained in docs/scaling.md.
 *
 * Arguments: seconds for each measurement (default 4), then names of workloads.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { workloads } from '#bench/workloads.js'

const WORKLOADS = ['lyrics-lstm', 'ptb-mxnet', 'deep-lstm512', 'deep-gru1024', 'dinos-rnn']
const exec = promisify(execFile)
const program = fileURLToPath(new URL('step.js', import.meta.url))

interface Measured {
  parameters: number
  /** Seconds a step of three rounds, the fastest first. */
  times: [number, number, number]
  bytes: number
  calls: number
  seconds: number
  waited: number
}

async function measure(name: string, processes: number, batch: number): Promise<Measured> {
  const args = ['-np', String(processes), '--bind-to', 'core', process.execPath, program]
  const env = {
    ...process.env,
    OMPI_ALLOW_RUN_AS_ROOT: '1',
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  }
  const { stdout } = await exec('mpirun', [...args, name, String(batch), seconds], { env })
  return JSON.parse(stdout)
}

const [seconds = '4', ...chosen] = process.argv.slice(2)
const ms = (time: number): string => (1000 * time).toFixed(time < 0.01 ? 2 : 1)
console.log(
  '| workload | MB averaged | 1 process, ms | 2, half a batch each: ms | times as fast | averaging, ms | of it waited for | 2, a batch each: ms | efficiency | averaging, ms | of it waited for |',
)
console.log('| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |')
for (const name of chosen.length > 0 ? chosen : WORKLOADS) {
  const workload = workloads.find((one) => one.name === name)
  if (workload === undefined) throw new Error(`there is no workload '${name}'`)
  const { batch } = workload
  const one = await measure(name, 1, batch)
  const strong = batch > 1 ? await measure(name, 2, batch / 2) : null
  const weak = await measure(name, 2, batch)
  const alone = one.times[1]
  const parts = (m: Measured): string[] => [
    ms(m.seconds),
    m.seconds > 0 ? `${((100 * m.waited) / m.seconds).toFixed(0)} %` : '',
  ]
  const cells = [
    name,
    ((4 * one.parameters) / 1e6).toFixed(2),
    ms(alone),
    ...(strong === null
      ? ['', '', '', '']
      : [ms(strong.times[1]), (alone / strong.times[1]).toFixed(2), ...parts(strong)]),
    ms(weak.times[1]),
    `${((100 * alone) / weak.times[1]).toFixed(0)} %`,
    ...parts(weak),
  ]
  console.log(`| ${cells.join(' | ')} |`)
}
