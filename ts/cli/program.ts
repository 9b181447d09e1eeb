/** The commands, their options and their help. */
import { readFileSync } from 'node:fs'
import { Command, Option } from 'commander'
import { CELL_NAMES } from '../models/cell_names.js'
import { benchCommand } from './bench_command.js'
import type { ConvertOptions } from './convert.js'
import {
  type BuildOptions,
  type EvaluateOptions,
  encoding,
  type GenerateOptions,
  number,
  type TrainOptions,
  whole,
} from './options.js'
import { tableOptions, taskOptions, useCommands } from './task_commands.js'

function option(
  flags: string,
  description: string,
  setUp: (option: Option) => Option = (o) => o,
): Option {
  return setUp(new Option(flags, description))
}

/** One line for every mistake on the command line. */
function shortErrors(command: Command): Command {
  return command.showSuggestionAfterError().configureOutput({
    outputError: (text, write) => {
      const line = text
        .trim()
        .replace(/^error: /, '')
        .replace(/\s*\n\s*/g, ' ')
      write(`fused-rnn: ${line}\n`)
    },
  })
}

export function makeProgram(): Command {
  const packageFile = new URL('../../package.json', import.meta.url)
  const { version, description } = JSON.parse(readFileSync(packageFile, 'utf8'))
  const program = shortErrors(new Command('fused-rnn'))
    .description(`${description}.`)
    .version(version)
    .helpCommand('help [command]', 'explain every option of a command')
    .addHelpText(
      'after',
      `
Begin with:
  fused-rnn train --demo                          about a minute, on Shakespeare's sonnets
  fused-rnn train book.txt --out book-model       learn a text of your own
  fused-rnn generate book-model --prefix "Once "  let the model write
  fused-rnn train sales.csv --task forecast --horizon 12 --out sales-model
  fused-rnn predict sales-model sales.csv         the next 12 rows, with bands

'fused-rnn <command> --help' explains every option of a command.`,
    )
  program.addCommand(trainCommand())
  program.addCommand(generateCommand())
  program.addCommand(evaluateCommand())
  for (const command of useCommands((name) => shortErrors(new Command(name))))
    program.addCommand(command)
  program.addCommand(convertCommand())
  program.addCommand(doctorCommand())
  program.addCommand(benchCommand(shortErrors(new Command('bench'))))
  program.addCommand(buildCommand())
  return program
}

function trainCommand(): Command {
  return taskOptions(textTrainCommand())
}

function textTrainCommand(): Command {
  return shortErrors(new Command('train'))
    .summary('learn to write like a text, or a task from a table')
    .description(
      'Trains a language model on a text file: it reads the text token by token and learns ' +
        'to say which token comes next. Prints the perplexity of every epoch (1: always certain; ' +
        'as large as the vocabulary: knows nothing) and a sample of what the model writes. The ' +
        'output folder gets the model, a checkpoint to go on from, history.csv and loss.svg. With ' +
        '--task it learns from a table (CSV) to forecast series, to tell classes of texts, or what is normal.',
    )
    .argument(
      '[file]',
      'what to learn: a text, or a table with --task (with --demo or --resume: none)',
    )
    .addOption(
      option('--task <name>', 'learn from a table', (o) =>
        o.choices(['forecast', 'classify', 'detect']),
      ),
    )

    .optionsGroup('Model:')
    .addOption(
      option('--cell <name>', 'recurrent cell', (o) => o.choices(CELL_NAMES).default('lstm')),
    )
    .option('--hidden <units>', 'width of each recurrent layer', whole(1, 65536), 256)
    .option('--layers <count>', 'recurrent layers on top of each other', whole(1, 64), 1)
    .option(
      '--embedding <size>',
      'width of the token embedding; 0 feeds one-hot vectors',
      whole(0, 65536),
      64,
    )
    .option(
      '--dropout <p>',
      'share of values dropped on embedding, between layers and on output',
      number(0, 1),
      0,
    )
    .option('--tie', 'share weights of embedding and output (needs --embedding = --hidden)')

    .optionsGroup('Text:')
    .addOption(
      option('--level <kind>', 'what a token is: a character or a word', (o) =>
        o.choices(['char', 'word']).default('char'),
      ),
    )
    .option(
      '--encoding <name>',
      'of the text files: latin1, windows-1252, utf-16le, … (default: UTF-8, or UTF-16 with its mark)',
      encoding,
    )
    .option('--clean', 'lower case, and one space for whatever is not a letter a-z')
    .option('--keep-cr', 'keep CR LF and CR as they are (default: each becomes a newline)')
    .option('--min-frequency <n>', 'tokens that occur less often become <unk>', whole(1), 1)
    .option('--valid <file>', 'text to validate with')
    .option(
      '--valid-ratio <share>',
      'without --valid: share at the end of the text to validate with; 0: none',
      number(0, 0.9),
      0.1,
    )

    .optionsGroup('Training:')
    .option('--epochs <n>', 'passes over the text', whole(1), 10)
    .option(
      '--batch-size <n>',
      'sequences side by side in a step (of all processes together)',
      whole(1),
      32,
    )
    .option('--steps <n>', 'window: tokens that a gradient goes back through', whole(1), 64)
    .addOption(
      option(
        '--sampling <kind>',
        'consecutive windows carry the state on; random ones start anew',
        (o) => o.choices(['consecutive', 'random']).default('consecutive'),
      ),
    )
    .addOption(
      option('--optimizer <name>', 'how weights are updated', (o) =>
        o.choices(['sgd', 'adam', 'adamw']).default('adam'),
      ),
    )
    .option('--lr <rate>', 'learning rate (default: 0.002; sgd: 1)', number(0, Infinity, true))
    .option('--momentum <m>', 'how much of the last update goes on; sgd only', number(0, 1), 0)
    .option(
      '--weight-decay <w>',
      'pull of the weights towards 0 (default: 0; adamw: 0.01)',
      number(0, Infinity),
    )
    .option(
      '--clip <norm>',
      'largest norm of the whole gradient; 0: no limit',
      number(0, Infinity),
      1,
    )
    .option(
      '--clip-value <v>',
      'instead of --clip: largest size of each element of the gradient',
      number(0, Infinity, true),
    )
    .addOption(
      option('--schedule <kind>', 'how the learning rate falls', (o) =>
        o.choices(['none', 'step', 'exponential', 'plateau']).default('none'),
      ),
    )
    .option('--gamma <factor>', 'what the schedule multiplies the rate by', number(0, 1, true), 0.5)
    .option('--step-size <epochs>', 'schedule step: epochs between two falls', whole(1), 1)
    .option(
      '--patience <epochs>',
      'schedule plateau: epochs without progress before a fall',
      whole(0),
      1,
    )

    .optionsGroup('Run:')
    .option('--out <folder>', 'where everything but --trace is written', 'model')
    .option('--overwrite', 'replace the model that the output folder has')
    .option('--resume <folder>', 'go on with the training that wrote this folder')
    .option(
      '--checkpoint-every <steps>',
      'also save a checkpoint within epochs; 0: only after each',
      whole(0),
      0,
    )
    .option(
      '--trace <file>',
      'also write what each operation of the first 20 steps costs, as a Chrome trace (JSON) for ui.perfetto.dev',
    )
    .option('--sample-length <tokens>', 'sample to print after an epoch; 0: none', whole(0), 200)
    .option('--seed <n>', 'the same seed and threads give the same model, bit for bit', whole(0), 1)
    .option('--threads <n>', 'CPU threads (default: one for each core)', whole(1, 1024))
    .option('--device <name>', 'cpu, cuda (the first GPU) or cuda:N', 'cpu')
    .addOption(
      option('--precision <name>', 'of products: float32, or bfloat16 with float32 sums', (o) =>
        o.choices(['32-true', 'bf16', 'bf16-mixed']).default('32-true'),
      ),
    )
    .option(
      '--timeout <seconds>',
      'under mpirun: how long to wait for the other processes before giving up',
      number(1, Infinity),
      1800,
    )
    .option('--demo', "learn Shakespeare's sonnets, which come along, in about a minute")
    .addHelpText(
      'after',
      `
Ctrl-C finishes the step, saves a checkpoint and prints the command that goes on from it; with --task
it saves the best model so far.

Examples:
  fused-rnn train --demo
  fused-rnn train book.txt --out book-model
  fused-rnn train book.txt --cell gru --hidden 512 --layers 2 --dropout 0.3 --epochs 20
  fused-rnn train news.txt --level word --min-frequency 3 --valid news-later.txt \\
      --embedding 200 --hidden 200 --tie --optimizer sgd --lr 20 --clip 0.25 --schedule plateau
  fused-rnn train --resume book-model --epochs 40
  fused-rnn train sales.csv --task forecast --time date --target sales --horizon 28 --out sales-model
  fused-rnn train mails.csv --task classify --text body --label spam --out mail-model
  fused-rnn train sensors.csv --task detect --out sensor-model
  mpirun -np 4 npx fused-rnn train book.txt   (four processes, one model; here or on several machines)`,
    )
    .action(async (file: string | undefined, options: TrainOptions, command: Command) => {
      const typed = Object.keys(options).filter(
        (name) => command.getOptionValueSource(name) === 'cli',
      )
      const { TASK_OPTIONS, trainTask } = await import('./train_task.js')
      if (typed.includes('task')) return trainTask(file, options as never, typed)
      const strange = typed.find((name) => TASK_OPTIONS.includes(name))
      if (strange !== undefined)
        throw new Error(`--${strange} belongs to --task forecast, classify or detect`)
      const { train } = await import('./train.js')
      await train(file, options, (name) => command.getOptionValueSource(name) === 'cli')
    })
}

function generateCommand(): Command {
  return shortErrors(new Command('generate'))
    .summary('let a trained model write')
    .description('Writes text with a model that `fused-rnn train` made, to stdout, as it is made.')
    .argument('<model folder>', 'the output folder of a training')
    .option('--prefix <text>', 'what the text begins with', '')
    .option('--length <tokens>', 'tokens to write (characters, or words)', whole(0), 400)
    .option(
      '--temperature <t>',
      'below 1: safer, above 1: wilder; 0: always the likeliest token',
      number(0, Infinity),
      0.8,
    )
    .option('--top-k <k>', 'choose among the k likeliest tokens only', whole(1))
    .option(
      '--top-p <p>',
      'choose among the likeliest tokens only whose probabilities add up to p',
      number(0, 1, true),
    )
    .option(
      '--repetition-penalty <factor>',
      'above 1: tokens that the text has already become less likely',
      number(0, Infinity, true),
    )
    .option(
      '--stop <text>',
      'end where the text has this; may be given several times',
      (text: string, before: string[] = []) => [...before, text],
    )
    .option(
      '--seed <n>',
      'the same seed writes the same text (default: another each time)',
      whole(0),
    )
    .option('--threads <n>', 'CPU threads (default: one for each core)', whole(1, 1024))
    .option('--device <name>', 'cpu, cuda (the first GPU) or cuda:N', 'cpu')
    .addHelpText(
      'after',
      `
Examples:
  fused-rnn generate book-model --prefix "It was a dark "
  fused-rnn generate book-model --length 2000 --temperature 0.6 --top-k 20 --seed 7 > page.txt`,
    )
    .action(async (folder: string, options: GenerateOptions) => {
      const { generate } = await import('./generate.js')
      await generate(folder, options)
    })
}

function evaluateCommand(): Command {
  return tableOptions(textEvaluateCommand())
    .option('--text <column>', 'of a classifier: the texts')
    .option('--label <column>', 'of a classifier: their classes (default: label)')
    .option('--windows <n>', 'of a forecaster: forecasts to try (default: 5)', whole(1))
    .option('--plot <file>', 'of a forecaster: draw the last forecast as SVG')
    .option('--seed <n>', 'of a forecaster that has to learn anew', whole(0))
    .option('--json', 'JSON instead of text (models of tables)')
}

function textEvaluateCommand(): Command {
  return shortErrors(new Command('evaluate'))
    .summary('how well a trained model predicts another text or table')
    .description(
      'Reads a text with a model that `fused-rnn train` made and prints how well it predicted it: ' +
        'the mean loss (cross entropy in nats per token) and the perplexity (e to the loss). Or a table ' +
        '(CSV) with a model of `train --task`: forecasts beside the naive one, or accuracy and F1.',
    )
    .argument('<model folder>', 'the output folder of a training')
    .argument('<text or table>', 'what to predict; for a table - is standard input')
    .option(
      '--encoding <name>',
      'of the text files: latin1, windows-1252, utf-16le, … (default: UTF-8, or UTF-16 with its mark)',
      encoding,
    )
    .option(
      '--batch-size <n>',
      'pieces of the text read side by side, each without memory of the one before',
      whole(1),
      16,
    )
    .option('--steps <n>', 'tokens per step; only speed depends on it', whole(1), 64)
    .option('--threads <n>', 'CPU threads (default: one for each core)', whole(1, 1024))
    .option('--device <name>', 'cpu, cuda (the first GPU) or cuda:N', 'cpu')
    .addHelpText(
      'after',
      `
Examples:
  fused-rnn evaluate book-model another-book.txt
  fused-rnn evaluate sales-model sales.csv --plot last.svg`,
    )
    .action(async (folder: string, file: string, options: EvaluateOptions) => {
      const { evaluate } = await import('./evaluate.js')
      await evaluate(folder, file, options)
    })
}

function convertCommand(): Command {
  return shortErrors(new Command('convert'))
    .summary('weights of PyTorch, Keras and others as safetensors or .pt, models as ONNX')
    .description(
      'Reads a state dict or a checkpoint of PyTorch, a model of Keras or TensorFlow.js, a safetensors file or the folder of a model, and ' +
        'writes its weights as safetensors or for torch.load, or the model as ONNX. Nothing in a file is ' +
        'ever called. Half precision becomes float32.',
    )
    .argument(
      '<in>',
      '.pt, .pth, .ckpt, .bin, .keras, .h5, model.json of TensorFlow.js, .safetensors, or the folder of a model',
    )
    .argument('<out>', '.safetensors, .pt, .pth or .onnx')
    .option('--key <name>', 'of a checkpoint: where its state dict is (default: it is looked for)')
    .option('--prefix <text>', "keep the keys that begin with it, without it ('module.', 'model.')")
    .option('--overwrite', 'replace what is at <out>')
    .addHelpText(
      'after',
      `
Examples:
  fused-rnn convert model.pt model.safetensors
  fused-rnn convert lightning.ckpt weights.safetensors --prefix model.
  fused-rnn convert model.keras weights.safetensors
  fused-rnn convert book-model book.onnx`,
    )
    .action(async (from: string, to: string, options: ConvertOptions) => {
      const { convert } = await import('./convert.js')
      await convert(from, to, options)
    })
}

function doctorCommand(): Command {
  return shortErrors(new Command('doctor'))
    .summary('what this machine has, and whether it works')
    .description(
      'Prints versions, the processor and the kernels chosen for it, threads, devices, CUDA, ' +
        'cuBLAS, NCCL and MPI with what is missing of them, and tests each device in a few seconds: a small ' +
        'training must learn, and gradients must agree with finite differences. Exit code 1 when ' +
        'something that is needed is missing or wrong; a GPU is not needed.',
    )
    .action(async () => {
      const { doctor } = await import('./doctor.js')
      await doctor()
    })
}

function buildCommand(): Command {
  return shortErrors(new Command('build'))
    .summary('build the addon from its sources, where there is no prebuilt one')
    .description(
      'Builds the addon in the folder of the package, from where it is loaded instead of a prebuilt ' +
        'one. Needs a C++20 compiler (g++ 11 or newer, or clang), cmake 3.19 or newer and make or ' +
        'ninja, and says which of them is missing. cmake-js, node-addon-api and node-api-headers are ' +
        'fetched with npm unless they are installed. Takes some minutes.',
    )
    .addOption(
      option('--cuda <choice>', 'with the CUDA backend: needs nvcc of CUDA 13, but no GPU', (o) =>
        o.choices(['auto', 'on', 'off']).default('auto'),
      ),
    )
    .action(async (options: BuildOptions) => {
      const { build } = await import('./build.js')
      await build(options)
    })
}
