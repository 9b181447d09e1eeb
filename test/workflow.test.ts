/** .github/workflows: what they call is there, and they may do what they need and no more. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { PLATFORMS } from '../dist/platforms.js'
import { onCpu } from './helpers.js'

interface Step {
  uses?: string
  run?: string
  with?: Record<string, unknown>
}
interface Job {
  needs?: string | string[]
  permissions?: Record<string, string>
  strategy?: { matrix: { platform?: string[]; include?: { platform: string; image?: string }[] } }
  'runs-on': string
  steps: Step[]
}
interface Workflow {
  permissions: Record<string, string>
  jobs: Record<string, Job>
}

const once = onCpu ? test : test.skip
const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const folder = join(root, '.github/workflows')
const name: string = 'js-yaml'
const { load } = (await import(name)).default as { load(text: string): unknown }
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const workflows = readdirSync(folder).map(
  (file) => [file, load(readFileSync(join(folder, file), 'utf8')) as Workflow] as const,
)
const steps = ({ jobs }: Workflow): Step[] => Object.values(jobs).flatMap((job) => job.steps)
const linesOf = (workflow: Workflow): string[] =>
  steps(workflow).flatMap(({ run }) => (run ?? '').split('\n').map((line) => line.trim()))

once('jobs have steps, and wait for jobs that there are', (t) => {
  t.true(workflows.length > 0)
  for (const [file, { jobs }] of workflows) {
    for (const [name, job] of Object.entries(jobs)) {
      t.is(typeof job['runs-on'], 'string', `${file}: ${name}`)
      t.true(job.steps.length > 0)
      for (const step of job.steps) t.true('uses' in step !== 'run' in step, JSON.stringify(step))
      for (const needed of [job.needs ?? []].flat()) t.true(needed in jobs, `${name}: ${needed}`)
    }
  }
})

/** Programs of the machines that GitHub lends, and of the shell. */
const PROGRAMS =
  /^(sudo (apt-get|dpkg)|curl|dnf|echo|for|done|npm (ci|init|install)|npx (fused-rnn|--yes npm@\d+) )/

once('every script and file that a step runs is there', (t) => {
  for (const [file, workflow] of workflows) {
    for (const line of linesOf(workflow)) {
      if (line === '' || PROGRAMS.test(`${line} `)) continue
      const [, script] = /^npm run ([\w:-]+)( -- |$)/.exec(line) ?? []
      const [, path] = /^(?:node )?((?:scripts|\.ci)\/[\w.-]+)/.exec(line) ?? []
      if (script !== undefined) t.true(script in scripts, `${file}: ${line}`)
      else if (path !== undefined) t.true(existsSync(join(root, path)), `${file}: ${line}`)
      else t.fail(`${file}: '${line}' is none of what is known`)
    }
  }
})

once('every platform is built, once, and what is downloaded was uploaded', (t) => {
  const workflow = workflows.find(([file]) => file === 'prebuilds.yml')?.[1] as Workflow
  const built = Object.values(workflow.jobs).flatMap(({ steps, strategy }) => {
    const { platform = [], include = [] } = strategy?.matrix ?? {}
    const named = [...platform, ...include.map(({ platform }) => platform)]
    return steps.flatMap(({ run = '' }) => {
      const asked = /prebuildify -- --platform (\S.*)$/m.exec(run)?.[1]
      return asked === undefined ? [] : asked.startsWith('$') ? named : [asked]
    })
  })
  t.deepEqual(built.sort(), PLATFORMS.map(({ name }) => name).sort())
  const artifacts = (action: string): string[] =>
    steps(workflow)
      .filter(({ uses }) => uses?.startsWith(`actions/${action}-artifact@`))
      .map((step) => String(step.with?.name ?? step.with?.pattern))
  for (const name of artifacts('download'))
    t.true(
      artifacts('upload').some((made) => made.startsWith(name.replace('*', ''))),
      name,
    )
})

once('a workflow may only read; to publish, npm asks who it is', (t) => {
  for (const [file, { permissions, jobs }] of workflows) {
    t.deepEqual(permissions, { contents: 'read' }, file)
    for (const [name, job] of Object.entries(jobs)) {
      if (name === 'publish') t.deepEqual(job.permissions, { 'id-token': 'write' })
      else t.is(job.permissions, undefined, `${file}: ${name}`)
    }
    for (const { uses, with: options } of Object.values(jobs).flatMap((job) => job.steps)) {
      if (uses === undefined) continue
      t.regex(uses, /^actions\/[\w-]+@v\d+$/)
      if (uses.startsWith('actions/checkout@')) t.is(options?.['persist-credentials'], false)
    }
    const secrets = readFileSync(join(folder, file), 'utf8').includes('secrets.')
    t.false(secrets, 'a token')
  }
})
