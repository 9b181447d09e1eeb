#!/usr/bin/env node
// Puts an addon to where node-gyp-build loads it from: npm run prebuildify [-- OPTIONS]. (npm would
// run a script named prebuild before every `build`.)
//
//   [--cuda] [OPTIONS OF CMAKE-JS]             this machine's, into prebuilds/ of the clone
//   --platform NAME [OPTIONS OF CMAKE-JS]      that of a platform's package (ts/platforms.ts), into
//                                              prebuilds/packages/NAME; scripts/pack.mjs packs it
//
// Builds in build/, as `npm run build:native` does; with CUDA in build/cuda, with nvcc; for another
// system in build/NAME, with scripts/toolchains/NAME.cmake. What is stripped and moved is a copy.
// prebuildify knows node-gyp only, so it is given a program in its place: this file again, which
// answers `rebuild …` with cmake-js.
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { arch, platform } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forgetOtherClone } from './build-folder.mjs'

const self = fileURLToPath(import.meta.url)
const root = join(dirname(self), '..')
const require = createRequire(import.meta.url)
// prebuildify looks for what was built in build/Release of this folder.
const stage = join(root, 'build/prebuild')

function fail(message) {
  console.error(`prebuild: ${message}`)
  process.exit(1)
}

/** In node-gyp's place. */
function rebuild() {
  const build = join(root, process.env.FUSED_RNN_PREBUILD_FOLDER ?? 'build')
  forgetOtherClone(build)
  const options = JSON.parse(process.env.FUSED_RNN_PREBUILD_OPTIONS ?? '[]')
  const program = require.resolve('cmake-js/bin/cmake-js')
  const args = [program, 'compile', '--directory', root, '--out', build, ...options]
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
  mkdirSync(join(stage, 'build/Release'), { recursive: true })
  const addon = 'Release/fused_rnn.node'
  if (process.env.FUSED_RNN_PREBUILD_SYSTEM === 'win32' && platform() !== 'win32') {
    const check = join(root, 'scripts/check-aligned-moves.mjs')
    const checked = spawnSync(process.execPath, [check, join(build, addon)], { stdio: 'inherit' })
    if (checked.status !== 0) process.exit(1)
  }
  copyFileSync(join(build, addon), join(stage, 'build', addon))
}

/** The argument after this option, taken out of them; undefined without the option. */
function taken(args, name) {
  const at = args.indexOf(name)
  return at < 0 ? undefined : args.splice(at, 2)[1]
}

/** The platform of this name, and how it is built here. */
async function forPlatform(name, rest) {
  const { PLATFORMS, libc } = await import('../dist/platforms.js').catch(() =>
    fail('dist/platforms.js is needed: npm run build:ts'),
  )
  const found = PLATFORMS.find((place) => place.name === name)
  if (found === undefined)
    fail(`no platform '${name}'; there are: ${PLATFORMS.map((place) => place.name).join(', ')}`)
  const here =
    found.os === platform() &&
    found.cpu === arch() &&
    (found.libc === undefined || libc().startsWith(found.libc))
  let folder = found.cuda ? 'build/cuda' : 'build'
  if (found.cuda) rest.push('--CDFUSED_RNN_CUDA=on')
  let stripBin = 'strip'
  if (!here) {
    const toolchain = join(root, 'scripts/toolchains', `${name}.cmake`)
    if (!existsSync(toolchain)) fail(`${name} cannot be built on ${platform()}-${arch()}`)
    folder = `build/${name}`
    rest.push(
      '--arch',
      found.cpu,
      `--CDCMAKE_TOOLCHAIN_FILE=${toolchain}`,
      '--CDFUSED_RNN_CUDA=off',
    )
    stripBin = /CMAKE_STRIP (\S+)\)/.exec(readFileSync(toolchain, 'utf8'))[1]
  } else if (!found.cuda && existsSync('/dev/nvidiactl')) {
    // Where there is a GPU, build/ is with CUDA.
    folder = 'build/no-cuda'
    rest.push('--CDFUSED_RNN_CUDA=off')
  }
  const out = join(root, 'prebuilds/packages', name)
  rmSync(join(out, 'prebuilds'), { recursive: true, force: true })
  mkdirSync(out, { recursive: true })
  return { folder, out, stripBin, arch: found.cpu, platform: found.os }
}

async function prebuild() {
  const rest = process.argv.slice(2)
  const name = taken(rest, '--platform')
  const cuda = rest.includes('--cuda')
  if (cuda) rest.splice(rest.indexOf('--cuda'), 1, '--CDFUSED_RNN_CUDA=on')
  // A package's name says which C library it is for.
  const { folder, ...where } =
    name === undefined
      ? { folder: cuda ? 'build/cuda' : 'build', out: root, tagLibc: platform() === 'linux' }
      : await forPlatform(name, rest)
  process.env.FUSED_RNN_PREBUILD_FOLDER = folder
  process.env.FUSED_RNN_PREBUILD_OPTIONS = JSON.stringify(rest)
  process.env.FUSED_RNN_PREBUILD_SYSTEM = where.platform ?? platform()
  mkdirSync(stage, { recursive: true })
  const options = {
    cwd: stage,
    name: 'fused-rnn',
    napi: true,
    strip: true,
    nodeGyp: platform() === 'win32' ? `"${process.execPath}" "${self}"` : self,
    ...where,
  }
  require('prebuildify')(options, (error) => {
    if (error) fail(error.message)
    const made = name ? `prebuilds/packages/${name}` : `prebuilds/${platform()}-${arch()}`
    console.log(`prebuild: ${made}${cuda ? ', with CUDA' : ''}`)
  })
}

if (process.argv[2] === 'rebuild') rebuild()
else await prebuild()
