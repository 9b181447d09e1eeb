/** The programs in examples/, each run for a short while, on data that they bring themselves. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { long } from './device-tests.js'
import { onCpu, testDevice } from './helpers.js'
import { type Finished, run as runProgram } from './limits.js'

const folder = fileURLToPath(new URL('../dist-examples/', import.meta.url))

/** Runs an example to its end; `interrupt`: Ctrl-C as soon as standard error has this. */
function run(name: string, args: string[], interrupt?: RegExp): Promise<Finished> {
  let interrupted = false
  return runProgram(
    process.execPath,
    [join(folder, `${name}.js`), '--device', testDevice, ...args],
    {
      limitSeconds: 600,
      watch: (_, kill, stderr) => {
        if (interrupted || !interrupt?.test(stderr)) return
        interrupted = true
        kill('SIGINT')
      },
    },
  )
}

/** Runs an example that has to succeed; what it wrote. */
async function succeed(t: ExecutionContext, name: string, ...args: string[]): Promise<Finished> {
  const result = await run(name, args)
  t.is(result.code, 0, result.stderr)
  return result
}

/** The training perplexity after each epoch, from the lines of the progress bar. */
const perplexities = ({ stderr }: Finished): number[] =>
  [...stderr.matchAll(/^epoch \d+\/\d+: .*?\bperplexity ([\d.]+)/gm)].map(([, x]) => Number(x))

async function temporary(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-examples-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

test.serial('by-hand: the outputs, to the number', async (t) => {
  const { stdout } = await succeed(t, 'by-hand')
  const [linear, byHand, cell, layer] = stdout.split(/^\S.*\n/m).slice(1)
  t.is(linear, '  1,1 → 4 4\n  1,1 → 12 12\n  2,2 → 32 32\n')
  const numbers = (text = ''): number[] =>
    [...text.matchAll(/→ (\S+) (\S+)/g)].flatMap(([, a, b]) => [Number(a), Number(b)])
  const h1 = Math.tanh(2)
  const h2 = Math.tanh(2 + 2 * h1)
  const h3 = Math.tanh(4 + 2 * h2)
  for (const outputs of [byHand, cell, layer]) {
    t.is(numbers(outputs).length, 6)
    numbers(outputs).forEach((y, i) => {
      t.true(Math.abs(y - 2 * ([h1, h2, h3][i >> 1] as number)) < 2e-6)
    })
  }
})

for (const [cell, most] of Object.entries({ gru: 6, rnn: 16, lstm: 12, lstm2: 18, bigru: 3 })) {
  long(`lyrics: the ${cell} learns`, async (t) => {
    const { stdout } = await succeed(t, 'lyrics', '--cell', cell, '--epochs', '12')
    const perplexity = Number(/epoch 12, perplexity (\S+), time/.exec(stdout)?.[1])
    t.true(perplexity < most, String(perplexity))
    t.regex(stdout, /^ - From.{50}$/m)
  })
}

test.serial('lyrics: random windows, given prefixes, a file that is missing', async (t) => {
  const args = ['--sampling', 'random', '--epochs', '1', '--prefix', 'and', 'the']
  const { stdout } = await succeed(t, 'lyrics', ...args)
  t.regex(stdout, /^ - and.{50}$/m)
  t.regex(stdout, /^ - the.{50}$/m)
  const missing = await run('lyrics', ['--data', 'no-such-file'])
  t.is(missing.code, 1)
  t.regex(
    missing.stderr,
    /^error: \[loadText\] cannot read 'no-such-file': there is no such file\n$/,
  )
})

test.serial('lyrics: a prefix that the corpus has not is refused before training', async (t) => {
  const refused = await run('lyrics', ['--prefix', 'thou', 'größer'])
  t.is(refused.code, 1)
  t.regex(refused.stderr, /^error: --prefix größer: \[Vocabulary\] token: expected .* got 'ö'\n$/)
  const empty = await run('lyrics', ['--prefix', ''])
  t.regex(empty.stderr, /^error: --prefix: expected at least one character\n$/)
})

test.serial('lyrics: Chinese lines; a checkpoint is gone on with', async (t) => {
  const folder = await temporary(t)
  const corpus = join(folder, 'lines.txt')
  const characters = Array.from({ length: 1100 }, (_, i) => String.fromCodePoint(0x4e00 + (i % 90)))
  await writeFile(corpus, characters.map((c, i) => (i % 9 === 8 ? `${c}\n` : c)).join(''))
  const out = ['--data', corpus, '--out', join(folder, 'kept')]
  const first = await succeed(t, 'lyrics', ...out, '--epochs', '1')
  t.regex(first.stdout, /^ - 一丁\S+.{50}$/mu)
  const second = await succeed(t, 'lyrics', ...out, '--epochs', '2', '--resume')
  t.regex(second.stdout, /^epoch 2, /)
  const nowhere = await run('lyrics', ['--resume'])
  t.regex(nowhere.stderr, /^error: --resume needs --out, /)
  const nothing = await run('lyrics', ['--resume', '--out', folder])
  t.regex(nothing.stderr, /^error: --resume: there is no checkpoint in '/)
})

if (onCpu) {
  test.serial('the table of the page is made of the results that are kept', async (t) => {
    const script = fileURLToPath(new URL('../scripts/verify-examples.mjs', import.meta.url))
    const { code, stderr } = await runProgram(process.execPath, [script, '--check'], {
      limitSeconds: 60,
    })
    t.is(code, 0, stderr)
  })

  test.serial('all rows of the table run on excerpts of their corpora', async (t) => {
    const script = fileURLToPath(new URL('../scripts/verify-examples.mjs', import.meta.url))
    const all = await runProgram(process.execPath, [script, '--quick'], { limitSeconds: 600 })
    t.is(all.code, 0, all.stderr)
    t.is(all.stdout.trim().split('\n').length, 17, all.stdout)
    const wrong = await runProgram(process.execPath, [script, '--quick', '--only', 'lyric'], {
      limitSeconds: 60,
    })
    t.is(wrong.code, 1)
    t.regex(
      wrong.stderr,
      /^examples:verify: --only: expected some of lyrics-rnn, .* got 'lyric'\n$/,
    )
  })
}

for (const way of ['hand', 'tape']) {
  long(`binary-addition, gradients by ${way}: the error falls, and both ways agree`, async (t) => {
    const { stdout } = await succeed(t, 'binary-addition', '--gradient', way)
    const errors = [...stdout.matchAll(/error ([\d.]+),/g)].map(([, x]) => Number(x))
    const apart = [...stdout.matchAll(/differ by (\S+)/g)].map(([, x]) => Number(x))
    t.is(errors.length, 11)
    t.true((errors[0] as number) > 3 && (errors.at(-1) as number) < 1)
    t.is(apart.length, 11)
    t.true(Math.max(...apart) < 1e-6)
    const right = Number(/^(\d+) of the last 100 additions are right/m.exec(stdout)?.[1])
    t.true(right >= 95, String(right))
  })
}

long('dinosaurs: the loss falls, and names end as names do', async (t) => {
  const { stdout } = await succeed(t, 'dinosaurs', '--epochs', '6000', '--every', '2000')
  const losses = [...stdout.matchAll(/loss ([\d.]+)/g)].map(([, x]) => Number(x))
  t.is(losses.length, 4)
  t.true((losses[3] as number) < (losses[1] as number) - 2, String(losses))
  const names = [...stdout.matchAll(/^ {2}(\S*)$/gm)].map(([, name]) => name as string)
  t.is(names.length, 28)
  t.true(names.slice(-14).some((name) => /(saurus|tops|don|titan|mimus|nyx)$/.test(name)))
})

long('long-memory: a row for every cell, and short sums are learned', async (t) => {
  const small = ['--hidden', '8', '--layers', '1', '--batch', '4', '--lengths', '4,6']
  const { stdout } = await succeed(t, 'long-memory', '--epochs', '3', ...small)
  const rows = [
    ...stdout.matchAll(/^\| ([^|]+) \| (\d+) \| ([\d.]+) \| ([\d.]+) % \| (–|\d+) \|$/gm),
  ]
  t.is(rows.length % 4, 0)
  t.true(rows.length >= 4 * 6, stdout)
  const learns = ['--problem', 'adding', '--cells', 'GRU; LSTM', '--lengths', '4', '--hidden', '16']
  const long = await succeed(t, 'long-memory', ...learns, '--epochs', '600')
  t.regex(long.stdout, /^\| GRU .* \| \d+ \|$/m)
  const wrong = await run('long-memory', ['--cells', 'NRU'])
  t.is(wrong.code, 1)
  t.regex(wrong.stderr, /^error: --cells: no cell 'NRU'$/m)
})

for (const packed of [false, true]) {
  long(`encoder-decoder${packed ? ', packed' : ''}: all six pairs`, async (t) => {
    const args = ['--epochs', '1500', ...(packed ? ['--packed'] : [])]
    const { stdout } = await succeed(t, 'encoder-decoder', ...args)
    for (const pair of ['man → women', 'king → queen', 'black → white', 'girl → boy'])
      t.true(stdout.includes(`\n${pair}\n`), stdout)
    t.true(stdout.includes('\nup → down\n') && stdout.includes('\nhigh → low\n'), stdout)
  })
}

long('bucketing: perplexity falls, speed is told', async (t) => {
  const args = ['--epochs', '4', '--width', '24', '--frequent', '20']
  const result = await succeed(t, 'bucketing', ...args)
  const found = perplexities(result)
  t.is(found.length, 4)
  t.true((found[3] as number) < (found[0] as number) * 0.9, String(found))
  t.regex(result.stdout, /^Epoch\[0\] Batch \[20\] Speed: [\d.]+ samples\/sec, perplexity /m)
  t.regex(result.stdout, /^Validation perplexity [\d.]+$/m)
})

for (const [model, epochs] of Object.entries({ gru: '6', scratch: '2' })) {
  long(`time-machine, ${model}: perplexity falls, a picture, a continuation`, async (t) => {
    const picture = join(await temporary(t), 'loss.svg')
    const args = ['--model', model, '--epochs', epochs, '--plot', picture]
    const { stdout } = await succeed(t, 'time-machine', ...args)
    const perplexity = Number(/^perplexity ([\d.]+), validation/m.exec(stdout)?.[1])
    // 28 is what a guess at random gives.
    t.true(perplexity < 20, String(perplexity))
    t.regex(stdout, /^it has[a-z ]{20}$/m)
    t.regex(await readFile(picture, 'utf8'), /^<svg.*<path d="M[\d.,L]+" fill="none"/s)
  })
}

long('word-model: perplexity falls', async (t) => {
  const result = await succeed(t, 'word-model', '--epochs', '3', '--width', '16')
  const found = perplexities(result)
  t.true((found.at(-1) as number) < (found[0] as number) * 0.8, String(found))
  t.regex(result.stdout, /^test perplexity [\d.]+ after [\d.]+ minutes$/m)
})

long('word-model-large: Ctrl-C leaves a checkpoint, --resume goes on from it', async (t) => {
  const out = join(await temporary(t), 'model')
  const args = ['--epochs', '4', '--width', '16', '--out', out]
  const first = await run('word-model-large', args, /^epoch 1\/4/m)
  t.is(first.code, 0, first.stderr)
  t.regex(first.stdout, /^stopped in epoch [234]; --resume goes on$/m)
  const second = await succeed(t, 'word-model-large', ...args, '--resume')
  const found = [...perplexities(first), ...perplexities(second)]
  t.is(found.length, 4)
  t.true((found[3] as number) < (found[0] as number) * 0.8, String(found))
  t.regex(second.stdout, /^test perplexity [\d.]+$/m)
})

long('awd-lstm: perplexity falls, --resume goes on, weights are averaged', async (t) => {
  const out = join(await temporary(t), 'model')
  const small = ['--width', '24', '--embedding', '16', '--batches', '10', '--out', out]
  const first = await succeed(t, 'awd-lstm', ...small, '--epochs', '2')
  t.notRegex(first.stdout, /averaging/)
  // After steps that are far too large validation is worse, so averaging begins at once.
  const more = ['--epochs', '4', '--resume', '--patience', '1', '--lr', '150']
  const second = await succeed(t, 'awd-lstm', ...small, ...more)
  const found = [...perplexities(first), ...perplexities(second)]
  t.is(found.length, 4)
  t.true((found[1] as number) < (found[0] as number) * 0.8, String(found))
  t.regex(second.stdout, /^averaging begins after epoch [34]$/m)
  t.regex(second.stdout, /^test perplexity [\d.]+$/m)
})

long(
  'worker: perplexity falls, and the main thread writes with the weights of each epoch',
  async (t) => {
    const { stdout } = await succeed(t, 'worker', '--epochs', '3')
    const lines = [...stdout.matchAll(/^epoch \d, perplexity (\S+): "Shall I ([^"]+)/gm)]
    const found = lines.map(([, perplexity]) => Number(perplexity))
    t.is(found.length, 3)
    t.true((found[2] as number) < 9 && (found[0] as number) > 12, String(found))
    t.is(new Set(lines.map(([, , text]) => text)).size, 3)
    t.regex(stdout, /^the main thread's event loop never waited longer than \d+ ms$/m)
  },
)

if (onCpu) {
  test('a corpus that is too small is said in one line, without a stack', async (t) => {
    const corpus = await temporary(t)
    for (const part of ['train', 'valid', 'test'])
      await writeFile(join(corpus, `ptb.${part}.txt`), 'a b c\n')
    const program = fileURLToPath(new URL('../scripts/example.mjs', import.meta.url))
    for (const name of ['awd-lstm', 'bucketing', 'word-model', 'word-model-large']) {
      const args = [program, name, '--data', corpus, '--out', join(corpus, name)]
      const { code, stderr } = await runProgram(process.execPath, args, { limitSeconds: 600 })
      t.is(code, 1, name)
      t.regex(stderr, /^error: .*expected .*, got .*\n$/, name)
    }
  })
}
