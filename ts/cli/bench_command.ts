/** `bench`: its options and their help. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { number, whole } from './options.js'

/** What stands beside ours: the peers whose programs come with the package. */
export const PEERS = ['pytorch', 'jax', 'keras'] as const
export type PeerName = (typeof PEERS)[number]

/** A shape of the user's own. */
export interface ShapeOptions {
  cell: 'rnn' | 'gru' | 'lstm'
  input: number
  hidden: number
  layers: number
  batch: number
  steps: number
  bidirectional?: boolean
  dropout: number
  vocabulary?: number
}

export interface BenchOptions extends ShapeOptions {
  workload?: string[]
  inference?: boolean
  precision: '32-true' | 'bf16' | 'bf16-mixed'
  device: string
  threads?: number
  rounds: number
  against: PeerName[]
  python?: string
  json?: boolean
}

/** The options that a workload of the list has of its own. */
export const SHAPE_OPTIONS: readonly (keyof ShapeOptions)[] = [
  'cell',
  'input',
  'hidden',
  'layers',
  'batch',
  'steps',
  'bidirectional',
  'dropout',
  'vocabulary',
]

function names(text: string): string[] {
  const parts = text.split(',').map((part) => part.trim())
  if (parts.includes('')) throw new InvalidArgumentError('Expected NAME or NAME,NAME.')
  return [...new Set(parts)]
}

function peers(text: string): PeerName[] {
  const isPeer = (name: string): name is PeerName => (PEERS as readonly string[]).includes(name)
  const parts = names(text)
  const known = parts.filter(isPeer)
  if (known.length < parts.length)
    throw new InvalidArgumentError(`Expected some of ${PEERS.join(', ')}.`)
  return known
}

export function benchCommand(command: Command): Command {
  return command
    .summary('how fast a shape of your own is here, alone or beside PyTorch')
    .description(
      'Times training steps or inference of recurrent layers of your own shape, or of a workload of ' +
        'docs/benchmarks.md, and what this machine does at most: the rate of the matrix products in it, ' +
        'alone. With --against other engines run the same in turns with ours, a process each; a ratio is ' +
        'the median of the rounds, with the smallest and largest in brackets.',
    )
    .optionsGroup('Shape:')
    .addOption(
      new Option('--cell <name>', 'recurrent cell').choices(['rnn', 'gru', 'lstm']).default('lstm'),
    )
    .option('--input <size>', 'numbers a step, or width of the embedding', whole(1, 1e6), 256)
    .option('--hidden <units>', 'width of each layer', whole(1, 65536), 256)
    .option('--layers <count>', 'layers on top of each other', whole(1, 64), 1)
    .option('--batch <n>', 'sequences side by side', whole(1, 1e6), 32)
    .option('--steps <n>', 'length of the sequences', whole(1, 1e6), 35)
    .option('--bidirectional', 'layers in both directions')
    .option('--dropout <p>', 'share of values dropped between layers', number(0, 1), 0)
    .option(
      '--vocabulary <n>',
      'a next-token model of n tokens (embedding, layers, linear) with its loss, clipping and SGD; ' +
        'without it the layers alone, forward and backward',
      whole(2, 1e7),
    )
    .option(
      '--workload <names>',
      'instead of a shape: workloads of docs/benchmarks.md, as ptb-better or lyrics-lstm,deep-gru1024',
      names,
    )

    .optionsGroup('Run:')
    .option('--inference', 'forward only, and one token at a time at batch 1, instead of training')
    .addOption(
      new Option(
        '--precision <name>',
        'of products; bf16 stands beside float32, and PyTorch in float32 beside its autocast',
      )
        .choices(['32-true', 'bf16', 'bf16-mixed'])
        .default('32-true'),
    )
    .option('--device <name>', 'cpu, cuda (the first GPU) or cuda:N: ours and PyTorch', 'cpu')
    .option('--threads <n>', 'CPU threads (default: one for each core)', whole(1, 1024))
    .option('--rounds <n>', 'how often each is timed, for half a second', whole(1, 1000), 5)
    .addOption(
      new Option('--against <names>', `what to compare with: ${PEERS.join(', ')}; comma-separated`)
        .argParser(peers)
        .default([] as PeerName[], 'none'),
    )
    .option(
      '--python <path>',
      'the interpreter that has them (default: PYTHON in the environment, else python3)',
    )
    .option('--json', 'JSON instead of a table, as in docs/benchmarks.md')
    .addHelpText(
      'after',
      `
JAX and Keras compute in float32 on the CPU, whatever --precision and --device say.

Examples:
  fused-rnn bench
  fused-rnn bench --cell gru --input 256 --hidden 512 --layers 2 --batch 64 --steps 50 --bidirectional
  fused-rnn bench --hidden 650 --layers 2 --vocabulary 10000 --precision bf16 --against pytorch
  fused-rnn bench --workload ptb-better --inference --against pytorch,jax --python venv/bin/python`,
    )
    .action(async (options: BenchOptions, command: Command) => {
      const typed = SHAPE_OPTIONS.filter((name) => command.getOptionValueSource(name) === 'cli')
      const { bench } = await import('./bench.js')
      await bench(options, typed)
    })
}
