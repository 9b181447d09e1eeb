/** The platforms with a package of their own, which holds the addon, and what this process runs on. */

/** One package: what package managers compare before they install it. */
export interface Platform {
  /** After '@fused-rnn/'. */
  name: string
  os: NodeJS.Platform
  cpu: NodeJS.Architecture
  /** On Linux: the C library that the addon was linked with. */
  libc?: 'glibc' | 'musl'
  /** The same addon with the CUDA backend. */
  cuda?: true
}

export const PLATFORMS: readonly Platform[] = [
  { name: 'linux-x64', os: 'linux', cpu: 'x64', libc: 'glibc' },
  { name: 'linux-x64-cuda', os: 'linux', cpu: 'x64', libc: 'glibc', cuda: true },
  { name: 'linux-x64-musl', os: 'linux', cpu: 'x64', libc: 'musl' },
  { name: 'linux-arm64', os: 'linux', cpu: 'arm64', libc: 'glibc' },
  { name: 'win32-x64', os: 'win32', cpu: 'x64' },
  { name: 'darwin-arm64', os: 'darwin', cpu: 'arm64' },
]

/** 'glibc 2.36', 'musl'; null where it is not Linux. */
export function libc(): string | null {
  if (process.platform !== 'linux') return null
  // Without the names of the network's interfaces, which may take seconds to find.
  Object.assign(process.report, { excludeNetwork: true })
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'musl'
}
