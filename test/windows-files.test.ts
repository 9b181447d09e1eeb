/**
 * Paths as Windows spells them, and files that are open when they are replaced. What every system has
 * runs everywhere; `npm run test:win` runs all of it under Wine.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { rename } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, parse, relative, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { CSVLogger, data, io, models, ones } from 'fused-rnn'
import { isFileName } from '../dist/io/checkpoint_folder.js'
import { makeFolders } from '../dist/io/folders.js'
import { renameOver } from '../dist/io/rename.js'
import { writeWhole } from '../dist/io/whole_file.js'
import { onCpu } from './helpers.js'

const here = onCpu ? test : test.skip
const onWindows = onCpu && process.platform === 'win32' ? test : test.skip
/** Such as `\\server\share`: a folder of another machine. */
const share = process.env.FUSED_RNN_TEST_SHARE

function folderOf(t: ExecutionContext, parent = tmpdir()): string {
  const path = mkdtempSync(join(parent, 'fused rnn # '))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

const vocabulary = data.Vocabulary.fromText('to be or not to be')
const makeModel = () =>
  new models.LanguageModel({ vocabulary, embeddingSize: 3, hiddenSize: 4, numLayers: 1 })

/** All that is written: one file, a model's folder, again over itself, a log. */
async function roundTrip(t: ExecutionContext, folder: string): Promise<void> {
  const weights = join(folder, 'a b.safetensors')
  for (const value of [1, 2]) {
    await io.safetensors.save(weights, new Map([['a', ones([2]).mul(value)]]))
    const loaded = await io.safetensors.load(weights)
    t.deepEqual([...((await loaded.get('a')?.data()) ?? [])], [value, value])
  }
  const path = join(folder, 'a model')
  for (let i = 0; i < 2; i++) {
    await makeModel().save(path)
    await models.LanguageModel.load(path)
  }
  t.deepEqual(readdirSync(path), ['config.json', 'model.safetensors', 'vocabulary.json'])
  const logger = new CSVLogger(join(folder, 'logs'))
  logger.logMetrics({ loss: 1 }, 1)
  logger.logMetrics({ loss: 2 }, 2)
  await logger.finalize()
  t.deepEqual(readdirSync(folder).sort(), ['a b.safetensors', 'a model', 'logs'])
}

here('spaces and other characters', async (t) => {
  const folder = join(folderOf(t), "ä ü 中 & % ' ; , = ()")
  mkdirSync(folder)
  await roundTrip(t, folder)
})

here('a path of more than 260 characters', async (t) => {
  let folder = folderOf(t)
  while (folder.length < 400) folder = join(folder, 'a folder with a long name'.repeat(3))
  await makeFolders(folder)
  await roundTrip(t, folder)
})

here('a relative path, and one with dots', async (t) => {
  // On another drive there is none.
  const parent = parse(tmpdir()).root === parse(process.cwd()).root ? tmpdir() : process.cwd()
  const folder = folderOf(t, parent)
  await roundTrip(t, relative('', folder))
  mkdirSync(join(folder, 'x'))
  await io.safetensors.load(`${folder}/x/../a b.safetensors`)
})

here('the root of a drive is a folder that is there', async (t) => {
  await t.notThrowsAsync(makeFolders(parse(resolve('.')).root))
  await t.throwsAsync(makeFolders(join(parse(resolve('.')).root, 'a\0b')))
})

onWindows('strokes of both kinds, small letters, and the long form', async (t) => {
  const folder = folderOf(t)
  for (const name of [
    folder.replaceAll('\\', '/'),
    folder.replace(/^[A-Z]/, (letter) => letter.toLowerCase()),
    folder.toUpperCase(),
    `\\\\?\\${folder}`,
    pathToFileURL(folder).href,
  ]) {
    const path = name.startsWith('file:') ? new URL(`${name}/m`) : `${name}\\m`
    await makeModel().save(path)
    await models.LanguageModel.load(path)
  }
  t.deepEqual(readdirSync(folder), ['m'])
})

onWindows("a drive's own folder", async (t) => {
  const folder = folderOf(t, process.cwd())
  const drive = parse(folder).root.slice(0, 2)
  await makeModel().save(`${drive}${basename(folder)}\\m`)
  t.deepEqual(readdirSync(folder), ['m'])
})

onWindows('the device that forgets everything', async (t) => {
  await t.notThrowsAsync(writeWhole('\\\\.\\NUL', 'x'))
  t.false(existsSync('NUL'))
})

;(share === undefined ? test.skip : onWindows)('a folder of another machine', async (t) => {
  const folder = folderOf(t, share)
  await roundTrip(t, folder)
})

test('names that lead out of a folder, or to a stream of a file', (t) => {
  for (const name of ['a/b', 'a\\b', 'a\0b', '..', '.', '']) t.false(isFileName(name), name)
  t.is(isFileName('a:b'), process.platform !== 'win32')
  t.true(isFileName('model.safetensors'))
})

here('a file that a reader has open is replaced when it is closed, if not before', async (t) => {
  const folder = folderOf(t)
  const file = join(folder, 'file')
  writeFileSync(file, 'old')
  const path = join(folder, 'model')
  await makeModel().save(path)
  const readers = [file, join(path, 'model.safetensors'), join(path, 'config.json')].map((name) =>
    openSync(name, 'r'),
  )
  const closed = sleep(300).then(() => {
    for (const reader of readers) closeSync(reader)
  })
  await Promise.all([writeWhole(file, 'new'), makeModel().save(path), closed])
  t.is(readFileSync(file, 'utf8'), 'new')
  await models.LanguageModel.load(path)
  t.deepEqual(readdirSync(folder), ['file', 'model'])
  t.is(readdirSync(path).length, 3)
})

test('renaming is tried again on Windows alone, and for what passes', async (t) => {
  const folder = folderOf(t)
  const [from, to] = [join(folder, 'from'), join(folder, 'to')]
  for (const code of ['EPERM', 'EACCES', 'EBUSY', 'ENOENT']) {
    for (const platform of ['win32', 'linux'] as const) {
      let calls = 0
      const held: typeof rename = (a, b) =>
        calls++ < 3 ? Promise.reject(Object.assign(new Error(code), { code })) : rename(a, b)
      writeFileSync(from, 'x')
      const again = platform === 'win32' && code !== 'ENOENT'
      const renaming = renameOver(from, to, { rename: held, platform })
      if (again) await t.notThrowsAsync(renaming, code)
      else await t.throwsAsync(renaming, { code })
      t.is(calls, again ? 4 : 1)
      t.is(existsSync(from), !again)
    }
  }
})
