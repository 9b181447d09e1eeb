// A registry of packages for package managers: what has been packed, and nothing else. Only reads.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { basename } from 'node:path'

function hash(algorithm, bytes, encoding) {
  return createHash(algorithm).update(bytes).digest(encoding)
}

/** The package.json in a tarball that `npm pack` made. */
function manifestOf(tarball) {
  const args = ['-xzOf', tarball, 'package/package.json']
  return JSON.parse(spawnSync('tar', args, { encoding: 'utf8' }).stdout)
}

/**
 * Serves tarballs of packages, one version of each.
 * @returns the registry's address, and what closes it
 */
export async function serve(tarballs) {
  const documents = new Map()
  const files = new Map()
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname).slice(1)
    const body = files.get(path) ?? documents.get(path)
    const found = body !== undefined && request.method === 'GET'
    const type = files.has(path) ? 'application/octet-stream' : 'application/json'
    response.writeHead(found ? 200 : 404, { 'content-type': type })
    response.end(found ? body : '{"error":"not found"}')
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${server.address().port}/`
  for (const tarball of tarballs) {
    const bytes = readFileSync(tarball)
    const manifest = manifestOf(tarball)
    const { name, version } = manifest
    const file = `${name}/-/${basename(tarball)}`
    files.set(file, bytes)
    const dist = {
      tarball: url + file,
      shasum: hash('sha1', bytes, 'hex'),
      integrity: `sha512-${hash('sha512', bytes, 'base64')}`,
    }
    // Some package managers install nothing that is younger than a day.
    const long = '2020-01-01T00:00:00.000Z'
    documents.set(
      name,
      JSON.stringify({
        name,
        'dist-tags': { latest: version },
        time: { created: long, modified: long, [version]: long },
        versions: { [version]: { ...manifest, _id: `${name}@${version}`, dist } },
      }),
    )
  }
  return { url, close: () => server.close() }
}
