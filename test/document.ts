/** Programs that stand in documents: found, checked and compiled as a user would. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** The code of every block of a language in a document. @param path from the root */
export async function codeBlocks(path: string, language: string): Promise<string[]> {
  const text = await readFile(join(root, path), 'utf8')
  const blocks = text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))
  return [...blocks].map((match) => match[1] as string)
}

/**
 * Writes a program to dist-test/`folder`/`name`.ts, inside the package, so that it finds the package
 * by its name, and compiles it to JavaScript beside it.
 * @returns the path of the JavaScript; null where there is no compiler: bench/gpu/run.sh may have
 *   been given what TypeScript makes instead
 * @throws (rejects) Error with what the compiler says
 */
export async function compile(
  folder: string,
  name: string,
  program: string,
): Promise<string | null> {
  const at = join(root, 'dist-test', folder)
  await mkdir(at, { recursive: true })
  await writeFile(join(at, `${name}.ts`), program)
  const config = {
    extends: '../../tsconfig.json',
    compilerOptions: { rootDir: '.', outDir: 'js', declaration: false },
    include: [`${name}.ts`],
  }
  await writeFile(join(at, 'tsconfig.json'), JSON.stringify(config))
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  if (!existsSync(tsc)) return null
  await promisify(execFile)(process.execPath, [tsc, '-p', at]).catch((error) => {
    throw new Error(error.stdout)
  })
  return join(at, 'js', `${name}.js`)
}
