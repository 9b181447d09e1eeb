#!/usr/bin/env node
// Puts this platform's addon into prebuilds/, from where node-gyp-build loads it in an installed
// package: npm run prebuildify [-- --cuda] [OPTIONS OF CMAKE-JS]. (npm would run a script named
// prebuild before every `build`.)
//
// Builds in build/, as `npm run build:native` does; with --cuda in build/cuda, with nvcc. What is
// stripped and moved is a copy. prebuildify knows node-gyp only, so it is given a program in its
// place: this file again, which answers `rebuild …` with cmake-js.
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync } from 'node:fs'
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
  copyFileSync(join(build, addon), join(stage, 'build', addon))
}

function prebuild() {
  const cuda = process.argv.includes('--cuda')
  process.env.FUSED_RNN_PREBUILD_FOLDER = cuda ? 'build/cuda' : 'build'
  const rest = process.argv.slice(2).filter((argument) => argument !== '--cuda')
  if (cuda) rest.push('--CDFUSED_RNN_CUDA=on')
  process.env.FUSED_RNN_PREBUILD_OPTIONS = JSON.stringify(rest)
  mkdirSync(stage, { recursive: true })
  const options = {
    cwd: stage,
    out: root,
    name: 'fused-rnn',
    napi: true,
    strip: true,
    tagLibc: platform() === 'linux',
    nodeGyp: platform() === 'win32' ? `"${process.execPath}" "${self}"` : self,
  }
  require('prebuildify')(options, (error) => {
    if (error) {
      console.error(`prebuild: ${error.message}`)
      process.exit(1)
    }
    console.log(`prebuild: prebuilds/${platform()}-${arch()}${cuda ? ', with CUDA' : ''}`)
  })
}

if (process.argv[2] === 'rebuild') rebuild()
else prebuild()
