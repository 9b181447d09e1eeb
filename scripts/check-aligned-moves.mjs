// Aligned moves of vectors of 32 and 64 bytes, in what was built for Windows:
//
//   node scripts/check-aligned-moves.mjs FILES    addons, programs, objects; exits with 1 if there are any
//
// There the stack is aligned to 16 bytes and GCC does not align it further (its bug 54412), so such a
// move may fault, now and then, on a user's machine; Wine's stacks are often aligned by chance. By
// which register an instruction reaches the stack cannot be seen: arguments that are vectors are
// passed by their address. So there may be none at all; CMakeLists.txt has the assembler write
// unaligned ones, which are as fast. scripts/prebuild.mjs runs this after each build for Windows.
import { spawn } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const DISASSEMBLER = process.env.OBJDUMP ?? 'x86_64-w64-mingw32-objdump'
/** vmovaps, vmovapd, vmovdqa, vmovdqa32, vmovdqa64, and the streaming ones, which are aligned too. */
const ALIGNED = /\bvmov(?:ap[sd]|dqa(?:32|64)?|ntp[sd]|ntdqa?)\s/
const WIDE = /%[yz]mm\d/
/** In AT&T's notation an address has its registers in parentheses. */
const MEMORY = /\(%r/

/** Whether a line of a disassembly is such a move. */
export const isAlignedMove = (line) => ALIGNED.test(line) && WIDE.test(line) && MEMORY.test(line)

/** Those of a file, each with its function, and how many instructions with such vectors it has. */
export async function alignedMoves(file) {
  const args = ['--disassemble', '--no-show-raw-insn', '--demangle', file]
  const child = spawn(DISASSEMBLER, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise((resolve, reject) => child.on('error', reject).on('close', resolve))
  ended.catch(() => {})
  const found = []
  let inside = ''
  let vectors = 0
  for await (const line of createInterface({ input: child.stdout })) {
    const name = /^[0-9a-f]+ <(.*)>:$/.exec(line)?.[1]
    if (name !== undefined) inside = name
    if (WIDE.test(line)) vectors++
    if (isAlignedMove(line)) found.push(`${line.trim()}   in ${inside}`)
  }
  if ((await ended) !== 0) throw new Error(`${DISASSEMBLER} ${file} failed`)
  return { found, vectors }
}

async function main(files) {
  if (files.length === 0) throw new Error('expected files')
  for (const file of files) {
    const { found, vectors } = await alignedMoves(file)
    for (const line of found) console.error(`${file}: ${line}`)
    console.log(
      `${file}: ${found.length} aligned moves in ${vectors} instructions with wide vectors`,
    )
    if (found.length > 0) process.exitCode = 1
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  await main(process.argv.slice(2)).catch((error) => {
    console.error(`check-aligned-moves: ${error.message}`)
    process.exitCode = 1
  })
