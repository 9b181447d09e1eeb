/** `fused-rnn train --task …`: forecasts, classes and anomalies over tables. */
import { join } from 'node:path'
import { type data, type FitResult, manualSeed, models } from '../index.js'
import { exists } from '../io/folders.js'
import { writeWhole } from '../io/whole_file.js'
import { UserError } from './errors.js'
import { count, plural } from './format.js'
import { useMachine } from './model.js'
import type { TrainOptions } from './options.js'
import { seriesIn, type TableOptions, tableOf, textsIn } from './task_options.js'

/** What `train --task` understands beside the usual options. */
export interface TaskTrainOptions extends TrainOptions, TableOptions {
  task: 'forecast' | 'classify' | 'detect'
  horizon?: number
  season?: number
  json?: boolean
}

/** Options of `train` that say something about a task's model, too. */
const SHARED = [
  'cell',
  'hidden',
  'layers',
  'dropout',
  'batchSize',
  'epochs',
  'lr',
  'seed',
  'threads',
  'device',
  'out',
  'overwrite',
  'validRatio',
  'json',
  'task',
  'separator',
]
const OWN: Record<TaskTrainOptions['task'], string[]> = {
  forecast: ['time', 'id', 'target', 'hist', 'futr', 'horizon', 'season'],
  classify: ['text', 'label', 'embedding'],
  detect: ['time', 'id', 'columns'],
}
/** What only tasks have. */
export const TASK_OPTIONS = [
  ...new Set([...OWN.forecast, ...OWN.detect, 'text', 'label', 'separator', 'json']),
]

export async function trainTask(
  file: string | undefined,
  options: TaskTrainOptions,
  typed: readonly string[],
): Promise<void> {
  const { task, out } = options
  const strange = typed.find((name) => !SHARED.includes(name) && !OWN[task].includes(name))
  if (strange !== undefined)
    throw new UserError(`--${dashed(strange)} has no meaning with --task ${task}`)
  if (file === undefined)
    throw new UserError('name the table to learn from (a CSV file, or - for standard input)')
  if (!options.overwrite && (await exists(join(out, 'config.json'))))
    throw new UserError(
      `'${out}' has a model already (--overwrite replaces it, --out writes elsewhere)`,
    )
  useMachine(options)
  const table = await tableOf(file, options)
  manualSeed(options.seed)
  const stop = new AbortController()
  const interrupt = (): void => stop.abort()
  process.once('SIGINT', interrupt)
  const given = <T>(name: string, value: T | undefined): { [key: string]: T } =>
    typed.includes(name) && value !== undefined ? { [FIT[name] ?? name]: value } : {}
  const fit = {
    seed: options.seed,
    signal: stop.signal,
    progressBar: process.stderr.isTTY === true && options.json !== true,
    ...given('batchSize', options.batchSize),
    ...given('epochs', options.epochs),
    ...given('lr', options.lr),
    ...given('validRatio', options.validRatio),
  }
  const sizes = {
    ...given('cell', options.cell),
    ...given('hidden', options.hidden),
  }
  const more = { ...given('layers', options.layers), ...given('dropout', options.dropout) }
  let model: models.Forecaster | models.SequenceClassifier | models.AnomalyDetector
  let lines: string[]
  let result: FitResult
  if (task === 'forecast') {
    if (options.horizon === undefined)
      throw new UserError('--task forecast needs --horizon, the rows to predict')
    const series = seriesIn(table, options)
    const forecaster = new models.Forecaster({
      horizon: options.horizon,
      ...(options.season !== undefined && { seasonLength: options.season }),
      ...(options.target !== undefined && { targets: options.target }),
      histExog: options.hist ?? [],
      futrExog: options.futr ?? [],
      ...sizes,
      ...more,
    })
    result = await forecaster.fit(series, fit)
    const { spec, seasonLength } = forecaster.state as models.ForecasterState
    const rows = series.reduce((sum, { length }) => sum + length, 0)
    const missing = series.reduce((sum, one) => sum + gapsIn(one, spec.targets), 0)
    lines = [
      `learnt    ${count(rows)} rows of ${plural(series.length, 'series', 'series')}: ${spec.targets.join(', ')}${missing > 0 ? `, ${count(missing)} without a value` : ''}`,
      `window    ${spec.inputSize} rows, season of ${seasonLength}; predicts ${spec.horizon}`,
    ]
    model = forecaster
  } else if (task === 'classify') {
    const { examples, placed } = textsIn(table, options, true)
    const classifier = new models.SequenceClassifier({
      ...sizes,
      ...more,
      ...given('embedding', options.embedding),
    })
    result = await placed(classifier.fit(examples, fit))
    lines = [`learnt    ${count(examples.length)} texts of ${classifier.state?.classes.join(', ')}`]
    model = classifier
  } else {
    if (more.layers !== undefined || more.numLayers !== undefined || more.dropout !== undefined)
      throw new UserError('--layers and --dropout have no meaning with --task detect')
    const series = seriesIn(table, options)
    const detector = new models.AnomalyDetector({ ...sizes })
    result = await detector.fit(series, fit)
    const { columns, threshold } = detector.state as models.AnomalyDetectorState
    lines = [`learnt    ${columns.join(', ')}`, `threshold ${threshold.toPrecision(4)}`]
    model = detector
  }
  process.removeListener('SIGINT', interrupt)
  await model.save(out)
  await writeWhole(
    join(out, 'table.json'),
    `${JSON.stringify(Object.fromEntries(TASK_OPTIONS.flatMap((name) => (typed.includes(name) && name !== 'json' ? [[name, (options as unknown as Record<string, unknown>)[name]]] : []))), null, 1)}\n`,
  )
  const { stopped, epoch } = result
  if (stopped === 'aborted')
    lines.push(`stopped   in epoch ${epoch + 1}; the model is the best one until then`)
  if (options.json)
    process.stdout.write(`${JSON.stringify({ task, out, stopped, state: model.state })}\n`)
  else process.stdout.write(`${[...lines, `model     ${out}`].join('\n')}\n`)
}

/** Rows in which a target has no value, also those that a regular grid of times lacks. */
function gapsIn(series: data.Series, targets: readonly string[]): number {
  const columns = targets.map((name) => series.column(name))
  let gaps = 0
  for (let row = 0; row < series.length; row++)
    if (columns.some((column) => Number.isNaN(column[row]))) gaps++
  return gaps
}

/** What options are called where the model takes them. */
const FIT: Record<string, string> = {
  epochs: 'maxEpochs',
  validRatio: 'valid',
  hidden: 'hiddenSize',
  layers: 'numLayers',
  embedding: 'embeddingSize',
}

const dashed = (name: string): string => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
