/** `publish --mirror` and `export` as they are typed: who asks nobody but the static host gets the release. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { sha256Hex, type VendorId } from '../../web/core/bytes.ts'
import { artifactUrl, refresh } from '../../web/edge/release/mirror.ts'
import { memoryStore } from '../../web/edge/release/store.ts'
import { afterTest, directory, relay } from '../../relay/fixture.ts'

const start = new URL('../start.ts', import.meta.url).pathname
const satpatch = (...args: string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile(process.execPath, [start, ...args], (error, stdout, stderr) =>
      error ? reject(new Error(stderr)) : resolve(stdout),
    )
  })

test('mirrors that publish names are signed, and one that export filled serves the release alone', async () => {
  const dir = await directory()
  const { url, admissionLink } = await relay()
  const host = join(dir, 'host')
  const server = createServer((request, response) => {
    readFile(join(host, new URL(request.url ?? '/', 'http://x').pathname)).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    )
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  afterTest(() => server.close())
  const mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const file = join(dir, 'pump.bin')
  await writeFile(file, randomBytes(50_000))
  const publish = (version: string, ...more: string[]): Promise<string> =>
    satpatch(
      ...['publish', file, '--relay', url, '--keys', join(dir, 'keys.json'), '--json'],
      ...['--product', 'pump', '--release', version, '--hardware', 'pi', '--seed-until', '0', ...more],
    )
  const first = await publish(
    '1.0',
    '--new-keys',
    '--admit',
    admissionLink ?? '',
    '--vendor-name',
    'Pumps',
    '--mirror',
    mirror,
  )
  const { vendor, release } = JSON.parse(first.split('\n')[0] ?? '') as {
    vendor: VendorId
    release: { sha256: string }
  }
  // What is published later keeps them, unless it names others.
  await publish('1.1')
  await satpatch('export', host, '--relay', url, '--vendor', vendor, '--artifact', file)

  const seen = await refresh({ mirrors: [mirror], vendor, store: memoryStore(), nowMs: Date.now(), fetch })
  if (seen.tag !== 'ok') throw new Error(JSON.stringify(seen))
  expect(seen.verified.vendorBlock.mirrors).toEqual([mirror])
  expect(seen.verified.releases.map(({ version }) => version)).toContain('1.1')
  const [newest] = seen.verified.releases
  const artifact = await fetch(artifactUrl(mirror, vendor, newest!.sha256))
  expect(sha256Hex(new Uint8Array(await artifact.arrayBuffer()))).toBe(release.sha256)

  await publish('1.2', '--mirror', 'https://other.example')
  const later = await refresh({ mirrors: [url], vendor, store: memoryStore(), nowMs: Date.now(), fetch })
  expect(later.tag === 'ok' && later.verified.vendorBlock.mirrors).toEqual(['https://other.example'])
  await expect(publish('1.3', '--mirror', 'ftp://nowhere')).rejects.toThrow(/mirror|address|http/i)
}, 120_000)
