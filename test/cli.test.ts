/** The command line, as its users run it: `node dist/cli/main.js …` on tiny texts. */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { deviceless } from './device-tests.js'
import { emulated, onCpu, testDevice } from './helpers.js'
import { run as runProgram } from './limits.js'

const main = join(dirname(fileURLToPath(import.meta.url)), '../dist/cli/main.js')

interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

interface RunOptions {
  cwd: string
  env?: Record<string, string>
  /** Called with all of stdout and stderr so far; may send signals. */
  watch?: (stdout: string, kill: (signal: NodeJS.Signals) => void, stderr: string) => void
}

/** AVA starts all tests at once; machines have fewer cores than that. */
const PROCESSES = 2
let running = 0
const waiting: (() => void)[] = []

/** Runs a command line; as an array where an argument has spaces. */
async function run(line: string | readonly string[], options: RunOptions): Promise<Outcome> {
  const args = typeof line === 'string' ? line.split(' ').filter(Boolean) : line
  if (running >= PROCESSES) await new Promise<void>((go) => waiting.push(go))
  running++
  try {
    return await runNow(args, options)
  } finally {
    running--
    waiting.shift()?.()
  }
}

function runNow(args: readonly string[], { cwd, env, watch }: RunOptions): Promise<Outcome> {
  const [command = '', ...rest] = args
  return runProgram(process.execPath, [main, command, ...onDevice(args), ...rest], {
    cwd,
    env: { ...process.env, FUSED_RNN_DEBUG: '', ...env },
    limitSeconds: 600,
    ...(watch && { watch }),
  })
}

/** Commands run where the tests do, unless they say. */
function onDevice(args: readonly string[]): string[] {
  const command = ['train', 'generate', 'evaluate'].includes(args[0] as string)
  return onCpu || !command || args.includes('--device') ? [] : ['--device', testDevice]
}

/** A folder of its own for a test, with a text in it. */
async function workplace(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-cli-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await writeFile(
    join(folder, 'text.txt'),
    'the quick brown fox jumps over the lazy dog.\n'.repeat(40),
  )
  return folder
}

const TINY = '--hidden 16 --embedding 8 --batch-size 4 --steps 16 --threads 1'
const trainTiny = (more: string): string => `train text.txt ${TINY} --epochs 2 ${more}`

/** The names in a folder. */
const names = async (folder: string): Promise<string> => (await readdir(folder)).sort().join(' ')

test('--trace writes what the first steps cost', async (t) => {
  const cwd = await workplace(t)
  const line = trainTiny('--epochs 1 --sample-length 0 --out m --trace traces/first.json')
  const { code, stdout, stderr } = await run(line, { cwd })
  t.is(code, 0, stderr)
  t.regex(stdout, /trace {2}traces\/first\.json: the first 20 steps/)
  const { traceEvents } = JSON.parse(await readFile(join(cwd, 'traces/first.json'), 'utf8'))
  const found = traceEvents.filter(({ ph, name }: { ph: string; name: string }) => {
    return ph === 'X' && name === 'rnn'
  })
  t.true(found.length >= 20, String(found.length))
  t.notRegex(await readFile(join(cwd, 'm/settings.json'), 'utf8'), /trace/)
  // A training of fewer steps, and one that goes on.
  const more = await run('train --resume m --epochs 2 --trace t.json', { cwd })
  t.is(more.code, 0, more.stderr)
  t.true(JSON.parse(await readFile(join(cwd, 't.json'), 'utf8')).traceEvents.length > 20)
  const none = await run(trainTiny('--out n --trace text.txt/t.json'), { cwd })
  t.is(none.code, 1)
  t.regex(none.stderr, /cannot write the trace 'text\.txt\/t\.json'/)
  const table = await run('train text.txt --task forecast --trace t.json', { cwd })
  t.regex(table.stderr, /--trace has no meaning with --task forecast/)
})

test('train, generate, evaluate', async (t) => {
  const cwd = await workplace(t)
  const trained = await run(trainTiny('--out m --sample-length 20 --lr 0.01'), {
    cwd,
  })
  t.is(trained.code, 0, trained.stderr)
  t.regex(trained.stdout, /1,620 characters to learn, 180 to validate/)
  t.regex(trained.stdout, /LSTM, 1 layer of 16, embedding 8: [\d,]+ parameters/)
  t.regex(trained.stdout, /epoch 2\/2: .*perplexity/)
  t.regex(trained.stdout, /generate m --prefix/)
  t.is(await names(cwd), 'm text.txt')
  t.is(await names(join(cwd, 'm')), 'best history.csv last loss.svg settings.json')
  t.regex(await readFile(join(cwd, 'm/loss.svg'), 'utf8'), /^<svg/)
  t.regex(await readFile(join(cwd, 'm/history.csv'), 'utf8'), /^kind,epoch,step,.*\n/)

  const generate = ['generate', 'm', '--prefix', 'the ', '--length', '30']
  const [once, again, other] = await Promise.all(
    ['7', '7', '8'].map((seed) => run([...generate, '--seed', seed], { cwd })),
  )
  t.is(once?.code, 0, once?.stderr)
  t.true(once?.stdout.startsWith('the '))
  t.is([...(once?.stdout ?? '')].length, 'the '.length + 30 + '\n'.length)
  t.is(once?.stdout, again?.stdout)
  t.not(once?.stdout, other?.stdout)
  const greedy = await run('generate m --length 10 --temperature 0 --top-k 3', { cwd })
  t.is(greedy.code, 0, greedy.stderr)

  const evaluated = await run('evaluate m text.txt', { cwd })
  t.is(evaluated.code, 0, evaluated.stderr)
  t.regex(
    evaluated.stdout,
    /^tokens {6}1,800\nloss {8}\d+\.\d{4} nats per token\nperplexity {2}[\d.]+\n/,
  )
})

for (const cell of ['rnn', 'gru']) {
  test(`${cell}, words, clean, two layers, tied, every option of training`, async (t) => {
    const cwd = await workplace(t)
    await writeFile(join(cwd, 'valid.txt'), 'the quick red fox\nover the lazy dog\n'.repeat(10))
    const schedule = cell === 'rnn' ? 'plateau --patience 2' : 'step --step-size 1'
    const line = trainTiny(
      `--cell ${cell} --layers 2 --embedding 16 --tie --dropout 0.1 --level word --clean ` +
        '--min-frequency 2 --valid valid.txt --sampling random --optimizer sgd --lr 0.5 ' +
        `--momentum 0.5 --weight-decay 1e-4 --clip-value 1 --schedule ${schedule} --gamma 0.5 ` +
        '--seed 3 --out m --checkpoint-every 3',
    )
    const { code, stdout, stderr } = await run(line, { cwd })
    t.is(code, 0, stderr)
    t.regex(stdout, new RegExp(`${cell.toUpperCase()}, 2 layers of 16`))
    const generated = await run(['generate', 'm', '--length', '5', '--prefix', 'the quick'], {
      cwd,
    })
    t.regex(generated.stdout, /^the quick( \S+){5}\n$/)
  })
}

deviceless('a text in Latin-1', async (t) => {
  const cwd = await workplace(t)
  await writeFile(join(cwd, 'text.txt'), Buffer.from('ein kühles Bad\n'.repeat(100), 'latin1'))
  const { code, stdout, stderr } = await run(
    trainTiny('--encoding latin1 --epochs 1 --sample-length 0 --out m'),
    { cwd },
  )
  t.is(code, 0, stderr)
  t.regex(stdout, /vocabulary 14\n/)
  const evaluated = await run('evaluate m text.txt --encoding latin1', { cwd })
  t.regex(evaluated.stdout, /^tokens {6}1,500\n/, evaluated.stderr)
})

deviceless('the suggested beginning has known words only', async (t) => {
  const cwd = await workplace(t)
  const text = await readFile(join(cwd, 'text.txt'), 'utf8')
  await writeFile(join(cwd, 'text.txt'), `rare words ${text}`)
  const line = trainTiny('--level word --min-frequency 2 --epochs 1 --sample-length 0')
  const { stdout, stderr } = await run(line, { cwd })
  t.regex(stdout, /--prefix 'the quick'\n$/, stderr)
})

test('one-hot input, no validation, adamw, exponential', async (t) => {
  const cwd = await workplace(t)
  const line = trainTiny(
    '--embedding 0 --valid-ratio 0 --optimizer adamw --schedule exponential --clip 0 --sample-length 0',
  )
  const { code, stdout, stderr } = await run(line, { cwd })
  t.is(code, 0, stderr)
  t.regex(stdout, /one-hot input/)
  t.is(await names(cwd), 'model text.txt')
})

deviceless('another command in a folder that is being trained changes nothing there', async (t) => {
  const cwd = await workplace(t)
  const settings = () => readFile(join(cwd, 'm/settings.json'), 'utf8')
  const others: Promise<void>[] = []
  const { code, stderr } = await run(`train text.txt ${TINY} --epochs 100000 --out m`, {
    cwd,
    watch: (stdout, kill) => {
      if (others.length > 0 || !stdout.includes('epoch 2/')) return
      const tryOthers = async (): Promise<void> => {
        const before = await settings()
        for (const line of ['--resume m --epochs 99', `text.txt ${TINY} --out m --overwrite`]) {
          const other = await run(`train ${line}`, { cwd })
          t.is(other.code, 1)
          t.regex(other.stderr, /^fused-rnn: cannot write to the output folder 'm': [^\n]*process/)
          t.is(await settings(), before)
        }
      }
      others.push(tryOthers().finally(() => kill('SIGINT')))
    },
  })
  await Promise.all(others)
  t.is(code, 130, stderr)
  t.is((await readdir(join(cwd, 'm'))).filter((name) => name.endsWith('.lock')).length, 0)
})

test('Ctrl-C saves a checkpoint; --resume goes on to the same weights', async (t) => {
  const cwd = await workplace(t)
  const epochs = emulated ? 10 : 60
  const long = `train text.txt ${TINY} --hidden 32 --epochs ${epochs} --dropout 0.2 --sample-length 5`
  const straight = await run(`${long} --out straight`, { cwd })
  t.is(straight.code, 0, straight.stderr)
  let sent = false
  const stopped = await run(`${long} --out stopped`, {
    cwd,
    watch: (stdout, kill) => {
      if (sent || !stdout.includes(`epoch 2/${epochs}:`)) return
      sent = true
      kill('SIGINT')
    },
  })
  t.is(stopped.code, 130, stopped.stderr)
  t.regex(stopped.stderr, /saved in stopped\/last\. To go on:\n .*train --resume stopped\n$/)
  const partial = await run('evaluate stopped text.txt', { cwd })
  t.is(partial.code, 0, partial.stderr)
  const resumed = await run('train --resume stopped', { cwd })
  t.is(resumed.code, 0, resumed.stderr)
  const weights = (out: string) => readFile(join(cwd, out, 'last/model.safetensors'))
  t.deepEqual(await weights('stopped'), await weights('straight'))

  const complete = await run('train --resume stopped', { cwd })
  t.is(complete.code, 1)
  t.regex(
    complete.stderr,
    new RegExp(`^fused-rnn: .*complete with its ${epochs} epochs.*--epochs\n$`),
  )
  const further = await run(`train --resume stopped --epochs ${epochs + 1}`, { cwd })
  t.is(further.code, 0, further.stderr)
  const other = await run('train --resume stopped --hidden 48', { cwd })
  t.regex(other.stderr, /^fused-rnn: --hidden cannot be given with --resume[^\n]*\n$/)
  await writeFile(join(cwd, 'text.txt'), 'another text, Αθήνα.\n'.repeat(90))
  const changed = await run(`train --resume stopped --epochs ${epochs + 2}`, { cwd })
  t.is(changed.code, 1)
  t.regex(
    changed.stderr,
    /^fused-rnn: cannot resume: the vocabulary of [^\n]* does not fit[^\n]*\n$/,
  )
})

for (const signal of ['SIGTERM', 'SIGHUP'] as const) {
  deviceless(`${signal} saves a checkpoint, as Ctrl-C does`, async (t) => {
    const cwd = await workplace(t)
    let sent = false
    const { code, stderr } = await run(`train text.txt ${TINY} --epochs 10000 --out m`, {
      cwd,
      watch: (stdout, kill) => {
        if (sent || !stdout.includes('epoch 2/')) return
        sent = true
        kill(signal)
      },
    })
    t.is(code, 130, stderr)
    t.regex(stderr, /saved in m\/last/)
    t.is((await run('evaluate m text.txt', { cwd })).code, 0)
  })
}

deviceless('a second Ctrl-C quits at once', async (t) => {
  const cwd = await workplace(t)
  // Steps, and a model to be saved, large enough that neither is over when the second Ctrl-C comes.
  const hidden = onCpu ? 2048 : 4096
  const attempt = async (delay: number) => {
    let sent = 0
    let again: NodeJS.Timeout | undefined
    try {
      return await run(`train text.txt --out m --overwrite --hidden ${hidden} --epochs 1000`, {
        cwd,
        watch: (stdout, kill, stderr) => {
          if (sent === 0 && stdout.includes('out    m')) {
            sent = 1
            setTimeout(() => kill('SIGINT'), delay)
          }
          if (sent === 1 && stderr.includes('Stopping')) {
            sent = 2
            // At once it would be taken for the same key; where it came too early, there is another.
            again = setInterval(() => kill('SIGINT'), 300)
          }
        },
      })
    } finally {
      clearInterval(again)
    }
  }
  // Where the first one came before all steps, or all was over before the second: a little later.
  let result = await attempt(200)
  for (let delay = 400; delay < 10_000 && result.stderr.includes('Stopped'); delay *= 2)
    result = await attempt(delay)
  t.is(result.code, 130)
  t.is(result.stderr, '\nStopping after this step (once more: at once)…\n')
})

deviceless('help teaches', async (t) => {
  const cwd = await workplace(t)
  // Help needs no addon; who has none is told so by the command that needs it.
  const env = { FUSED_RNN_ADDON: join(cwd, 'none.node') }
  for (const args of ['--help', 'train --help', 'generate --help', 'evaluate --help']) {
    const { code, stdout, stderr } = await run(args, { cwd, env })
    t.is(code, 0, stderr)
    t.regex(stdout, /fused-rnn (train|generate|evaluate) \S+/)
  }
  const { stdout } = await run('--version', { cwd })
  t.regex(stdout, /^\d+\.\d+\.\d+\n$/)
})

deviceless('a reader that leaves (| head) is no failure', async (t) => {
  const cwd = await workplace(t)
  t.is((await run(trainTiny('--out m'), { cwd })).code, 0)
  const child = spawn(process.execPath, [main, 'generate', 'm', '--length', '100000'], { cwd })
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  child.stdout.once('data', () => child.stdout.destroy())
  t.is(await new Promise((resolve) => child.on('close', resolve)), 0)
  t.is(stderr, '')
})

deviceless('output on a full disk is a mistake in one line', async (t) => {
  const cwd = await workplace(t)
  const full = openSync('/dev/full', 'w')
  t.teardown(() => closeSync(full))
  const child = spawn(process.execPath, [main, ...trainTiny('--out m').split(' ')], {
    cwd,
    stdio: ['ignore', full, 'pipe'],
  })
  let stderr = ''
  child.stderr?.on('data', (chunk) => {
    stderr += chunk
  })
  t.is(await new Promise((resolve) => child.on('close', resolve)), 1)
  t.regex(stderr, /^fused-rnn: cannot write the output: ENOSPC[^\n]*\n$/)
})

// Every mistake: exit code 1, one line on standard error, nothing written.
const mistakes: [name: string, line: string, message: RegExp][] = [
  ['no command', '', /.*/s],
  ['unknown command', 'tarin', /unknown command 'tarin'.*train/],
  ['no text', 'train', /which text\?/],
  ['missing text', 'train missing.txt', /missing\.txt.*no such file/],
  ['text is a folder', 'train folder', /folder.*it is a folder/],
  ['empty text', 'train empty.txt', /empty/],
  [
    'text in Latin-1',
    'train latin.txt',
    /0xE9 at line 1, byte offset 3\); .*give --encoding latin1$/m,
  ],
  [
    'unknown encoding',
    'train latin.txt --encoding x',
    /--encoding <name>' argument 'x' is invalid/,
  ],
  ['binary text', 'train binary.txt', /not a text file/],
  ['one distinct character', 'train same.txt', /at least two different characters/],
  [
    'window longer than the text',
    trainTiny('--steps 5000'),
    /--steps 5000 is longer than the text/,
  ],
  ['batch too large', trainTiny('--batch-size 1000'), /--batch-size 1000 is too large/],
  ['unknown option', trainTiny('--hiden 3'), /unknown option '--hiden'.*--hidden/],
  ['option without value', 'train text.txt --lr', /--lr.*argument missing/],
  ['not a number', trainTiny('--hidden many'), /--hidden.*'many' is invalid.*whole number/],
  ['number out of range', trainTiny('--dropout 1.5'), /--dropout.*'1.5' is invalid.*from 0 to 1/],
  ['zero learning rate', trainTiny('--lr 0'), /--lr.*'0' is invalid.*above 0/],
  ['unknown cell', trainTiny('--cell transformer'), /--cell.*rnn, gru, lstm/],
  ['tie with other widths', trainTiny('--tie'), /--embedding \(8\) must equal --hidden \(16\)/],
  ['momentum without sgd', trainTiny('--momentum 0.9'), /--momentum is for --optimizer sgd/],
  ['two kinds of clipping', trainTiny('--clip 1 --clip-value 1'), /--clip or --clip-value/],
  ['no such device', trainTiny('--device cuda:99'), /--device: expected 'cpu'.*'cuda:99'/],
  ['unknown device', trainTiny('--device tpu'), /--device: expected .*'tpu'/],
  ['demo with a text', 'train text.txt --demo', /--demo brings its own text/],
  ['output folder is a file', trainTiny('--out text.txt'), /text\.txt.*not a folder/],
  [
    'output folder in /proc',
    trainTiny('--out /proc/fused-rnn'),
    /cannot write to .*\/proc\/fused-rnn/,
  ],
  [
    'no frequent character',
    trainTiny('--min-frequency 100000'),
    /--min-frequency 100000 leaves no/,
  ],
  [
    'validation text too short',
    'train text.txt --valid one.txt',
    /text to validate with is too short/,
  ],
  ['seed too large', trainTiny('--seed 9007199254740993'), /between 0 and 9007199254740991/],
  ['output folder cannot be made', trainTiny('--out text.txt/sub'), /text\.txt\/sub.*not a folder/],
  ['resume from nothing', 'train --resume nowhere', /cannot resume: 'nowhere'/],
  ['missing validation text', trainTiny('--valid missing.txt'), /missing\.txt.*no such file/],
  ['generate: no model', 'generate folder', /'folder' does not hold a model/],
  ['generate: no folder', 'generate nowhere', /'nowhere' does not hold a model/],
  [
    'generate: bad temperature',
    'generate folder --temperature -1',
    /--temperature.*'-1' is invalid/,
  ],
  ['generate: too many arguments', 'generate a b', /too many arguments/],
  ['evaluate: no text', 'evaluate folder', /missing required argument 'text or table'/],
  ['evaluate: no model', 'evaluate folder text.txt', /'folder' does not hold a model/],
]
for (const [name, line, message] of mistakes) {
  deviceless(`mistake: ${name}`, async (t) => {
    const cwd = await workplace(t)
    await mkdir(join(cwd, 'folder'))
    await writeFile(join(cwd, 'empty.txt'), '')
    await writeFile(join(cwd, 'binary.txt'), Uint8Array.of(1, 0, 255, 254, 3))
    await writeFile(join(cwd, 'latin.txt'), Buffer.from('café\n'.repeat(200), 'latin1'))
    await writeFile(join(cwd, 'one.txt'), 'a')
    await writeFile(join(cwd, 'same.txt'), 'a'.repeat(1000))
    const before = await names(cwd)
    const { code, stderr } = await run(line, { cwd })
    t.is(code, 1, stderr)
    t.regex(stderr, message)
    if (line !== '') t.regex(stderr, /^fused-rnn: [^\n]+\n$/)
    t.notRegex(stderr, /\n\s+at /)
    t.is(await names(cwd), before)
  })
}

deviceless(
  'a model that exists is not replaced by accident; FUSED_RNN_DEBUG shows stacks',
  async (t) => {
    const cwd = await workplace(t)
    t.is((await run(trainTiny('--out m'), { cwd })).code, 0)
    const weights = () => readFile(join(cwd, 'm/last/model.safetensors'))
    const before = await weights()
    const { code, stderr } = await run(trainTiny('--out m'), { cwd })
    t.is(code, 1)
    t.regex(stderr, /^fused-rnn: 'm' already has a model[^\n]*--overwrite[^\n]*\n$/)
    t.deepEqual(await weights(), before)
    const debug = await run(trainTiny('--out m'), { cwd, env: { FUSED_RNN_DEBUG: '1' } })
    t.regex(debug.stderr, /\n\s+at /)
    t.is((await run(trainTiny('--out m --overwrite --seed 2'), { cwd })).code, 0)
    t.notDeepEqual(await weights(), before)
  },
)

deviceless('damaged models', async (t) => {
  const cwd = await workplace(t)
  t.is((await run(trainTiny('--out m --epochs 1'), { cwd })).code, 0)
  const damage = async (
    file: string,
    content: string | Uint8Array,
    message: RegExp,
  ): Promise<void> => {
    const path = join(cwd, 'm/best', file)
    const original = await readFile(path)
    await writeFile(path, content)
    for (const args of ['generate m', 'evaluate m text.txt']) {
      const { code, stderr } = await run(args, { cwd })
      t.is(code, 1)
      t.regex(stderr, /^fused-rnn: [^\n]+\n$/)
      t.regex(stderr, message)
    }
    await writeFile(path, original)
  }
  const vocabulary = JSON.parse(await readFile(join(cwd, 'm/best/vocabulary.json'), 'utf8'))
  vocabulary.tokens.push('¶')
  await damage('vocabulary.json', JSON.stringify(vocabulary), /vocabulary/)
  await damage('config.json', '{', /config\.json/)
  await damage('model.safetensors', 'short', /model\.safetensors/)
})

deviceless('a text that the model has no word of', async (t) => {
  const cwd = await workplace(t)
  t.is((await run(trainTiny('--out m --epochs 1'), { cwd })).code, 0)
  await writeFile(join(cwd, 'greek.txt'), 'ΑΒΓΔ'.repeat(50))
  const { code, stderr } = await run('evaluate m greek.txt', { cwd })
  t.is(code, 1)
  t.regex(stderr, /^fused-rnn: nothing in 'greek.txt' is in the model's vocabulary\n$/)
  await writeFile(join(cwd, 'mixed.txt'), 'the quick ΑΒΓΔ fox\n'.repeat(50))
  t.regex(
    (await run('evaluate m mixed.txt', { cwd })).stdout,
    /200 of them not in the model's vocabulary/,
  )
})

deviceless(
  'a crash of an earlier version while checkpoints are replaced: the ones set aside are found',
  async (t) => {
    const cwd = await workplace(t)
    t.is((await run(trainTiny('--out m'), { cwd })).code, 0)
    for (const name of ['best', 'last']) {
      await rename(join(cwd, 'm', name), join(cwd, 'm', `${name}.previous`))
      await cp(join(cwd, 'm', `${name}.previous`), join(cwd, 'm', `${name}.tmp`), {
        recursive: true,
      })
    }
    t.is((await run('generate m --length 5', { cwd })).code, 0)
    t.regex((await run(trainTiny('--out m'), { cwd })).stderr, /'m' already has a model/)
    t.is((await run('train --resume m --epochs 3', { cwd })).code, 0)
    t.true((await names(join(cwd, 'm'))).includes(' last '))
  },
)

deviceless('--overwrite replaces the training, and nothing that is not ours', async (t) => {
  const cwd = await workplace(t)
  t.is((await run(trainTiny('--out m'), { cwd })).code, 0)
  for (const name of ['last.previous', 'best.tmp']) {
    await mkdir(join(cwd, 'm', name))
    await writeFile(join(cwd, 'm', name, 'notes.txt'), name)
  }
  await writeFile(join(cwd, 'm/last/notes.txt'), 'mine')
  t.is((await run(trainTiny('--out m --overwrite'), { cwd })).code, 0)
  for (const [file, text] of [
    ['last.previous/notes.txt', 'last.previous'],
    ['best.tmp/notes.txt', 'best.tmp'],
    ['last/notes.txt', 'mine'],
  ] as const)
    t.is(await readFile(join(cwd, 'm', file), 'utf8'), text)
})
