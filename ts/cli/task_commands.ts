/** The commands over tables. */
import type { Command } from 'commander'
import { number, whole } from './options.js'
import type { UseOptions } from './task_options.js'

const list = (text: string): string[] => text.split(',').map((name) => name.trim())
const levels = (text: string): number[] => text.split(',').map(number(0, 100, true))

/** Which columns of a table are what. */
export function tableOptions(command: Command): Command {
  return command
    .optionsGroup('Tables:')
    .option('--time <column>', 'when each row is (default: a column called date, time, month …)')
    .option('--id <column>', 'which series a row is of, where there are several')
    .option('--separator <character>', 'between columns (default: by the first line; tab: a tab)')
}

/** The options of `train` that say what a task's table has. */
export function taskOptions(command: Command): Command {
  return tableOptions(command)
    .option(
      '--target <columns>',
      'forecast: what to predict, comma-separated (default: all numbers)',
      list,
    )
    .option('--hist <columns>', 'forecast: columns that are known up to now', list)
    .option('--futr <columns>', 'forecast: columns that are known of the future, too', list)
    .option('--horizon <rows>', 'forecast: how many rows to predict', whole(1, 65536))
    .option(
      '--season <rows>',
      'forecast: rows in a season (default: by the times)',
      whole(1, 65536),
    )
    .option('--columns <columns>', 'detect: what to look at (default: all numbers)', list)
    .option('--text <column>', 'classify: the texts')
    .option('--label <column>', 'classify: their classes (default: label)')
    .option('--json', 'print what was learnt as JSON')
}

function useOptions(command: Command): Command {
  return tableOptions(command)
    .optionsGroup('Options:')
    .option('--out <file>', 'where to write (default: standard output)')
    .option('--json', 'JSON instead of CSV or text')
    .option('--threads <n>', 'CPU threads (default: one for each core)', whole(1, 1024))
    .option('--device <name>', 'cpu, cuda (the first GPU) or cuda:N', 'cpu')
}

/** `predict`, `classify` and `detect`. */
export function useCommands(make: (name: string) => Command): Command[] {
  const predict = useOptions(make('predict'))
    .summary('forecast what comes next, or tell the classes of texts')
    .description(
      'Reads a table (CSV) and prints what a model says that `fused-rnn train --task forecast` or ' +
        '`--task classify` made: for each series the next rows with their bands, for each text its class.',
    )
    .argument('<model folder>', 'the output folder of a training')
    .argument('<table>', 'a CSV file; - for standard input')
    .option(
      '--level <percent>',
      'bands to print, comma-separated (default: those that were learnt)',
      levels,
    )
    .option('--horizon <rows>', 'fewer rows than were learnt, or more with --recursive', whole(1))
    .option('--recursive', 'go on from its own forecast, beyond what was learnt')
    .option('--plot <file>', 'draw the (first) forecast as SVG')
    .option('--text <column>', 'the texts (default: a column called text, body, message …)')
    .action(async (folder: string, file: string, options: UseOptions) => {
      const { predict } = await import('./use_task.js')
      await predict(folder, file, options)
    })
  const classify = useOptions(make('classify'))
    .summary('tell the classes of texts')
    .description('Prints the class of every text of a table, and how sure the model is.')
    .argument('<model folder>', 'the output folder of `fused-rnn train --task classify`')
    .argument('<table>', 'a CSV file; - for standard input')
    .option('--text <column>', 'the texts (default: a column called text, body, message …)')
    .action(async (folder: string, file: string, options: UseOptions) => {
      const { classify } = await import('./use_task.js')
      await classify(folder, file, options)
    })
  const detect = useOptions(make('detect'))
    .summary('find rows that are unlike what is normal')
    .description(
      'Prints the ranges of rows of a table whose score is above the threshold, and the column that ' +
        'adds most to it.',
    )
    .argument('<model folder>', 'the output folder of `fused-rnn train --task detect`')
    .argument('<table>', 'a CSV file; - for standard input')
    .option('--threshold <score>', 'instead of the one that was learnt', number(0, Infinity))
    .option('--plot <file>', 'draw scores and threshold as SVG')
    .action(async (folder: string, file: string, options: UseOptions) => {
      const { detect } = await import('./use_task.js')
      await detect(folder, file, options)
    })
  return [predict, classify, detect]
}
