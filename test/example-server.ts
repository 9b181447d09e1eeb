/** Examples that are servers, and a browser to look at their pages with. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { type Browser, chromium } from 'playwright-core'
import { sanitized } from './helpers.js'

const CHROMIUM = '/usr/bin/chromium'

/** Why there is no browser; null where there is one. */
export const withoutBrowser: string | null = !existsSync(CHROMIUM)
  ? `there is no ${CHROMIUM}`
  : sanitized
    ? "the browser would get the sanitizer's library"
    : null

/** A browser that ends with the test. */
export async function openBrowser(t: ExecutionContext): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
  t.teardown(() => browser.close())
  return browser
}

export interface Server {
  url: string
  /** Ctrl-C; how it ended. */
  stop(): Promise<{ code: number | null; stderr: string }>
}

/** Starts an example at a port that is free; it ends with the test. */
export async function startServer(
  t: ExecutionContext,
  name: string,
  ...args: string[]
): Promise<Server> {
  const program = fileURLToPath(new URL(`../dist-examples/${name}.js`, import.meta.url))
  const child = spawn(process.execPath, [program, '--port', '0', ...args])
  let stdout = ''
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      stdout += chunk
      const found = /^http:\S+$/m.exec(stdout)?.[0]
      if (found !== undefined) resolve(found)
    })
    child.on('error', reject)
    ended.then(() => reject(new Error(stderr)), reject)
  })
  const stop = async () => {
    child.kill('SIGINT')
    return { code: await ended, stderr }
  }
  return { url, stop }
}
