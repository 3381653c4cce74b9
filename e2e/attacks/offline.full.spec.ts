/** A copy of the mirror: on a stick for a device without network, on static hosts that nobody trusts. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { installedFile } from '../support/house.ts'
import { run, root, type Ended } from '../support/run.ts'
import { directoryFetch, DIRECTORY_URL } from '../../device/run/directory-fetch.ts'
import { stageOfFile } from './stage.ts'

const DAY_MS = 86_400_000
const stage = stageOfFile()
const servers: http.Server[] = []
afterAll(() => servers.forEach((server) => server.close()))

const satpatch = (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> =>
  run(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', path.join(root, 'device/main.ts'), ...args],
    { timeoutMs: 60_000, env: { ...process.env, ...env } },
  )

/** A process whose clock is ahead. */
function ahead(ms: number): Record<string, string> {
  const file = path.join(stage().dir, 'offset')
  fs.writeFileSync(file, String(ms))
  const preload = pathToFileURL(path.join(root, 'e2e/failures/fake-clock.ts')).href
  return {
    CLOCK_OFFSET_FILE: file,
    NODE_OPTIONS: `--disable-warning=ExperimentalWarning --import ${preload}`,
  }
}

const stick = (): string => path.join(stage().dir, 'stick')
const exported = (...more: string[]): Promise<Ended> =>
  satpatch(['export', stick(), '--relay', stage().house.relay.url, ...more])
const applied = (env: Record<string, string> = {}): Promise<Ended> =>
  satpatch(['apply', stick(), '--config', stage().device.configFile, '--log-level', 'warn'], env)
const sha256Of = (file: string): string => createHash('sha256').update(fs.readFileSync(file)).digest('hex')

test('a device without network installs from a stick whose timestamp has expired, says so, and reports later', async () => {
  const { device } = stage()
  const release = await stage().ship('1.1.0')
  await stage().healthy(release)
  await device.program?.stop()
  const next = await stage().ship('1.2.0')
  const wrong = await exported('--artifact', device.configFile)
  expect(wrong).toMatchObject({ code: 3 })
  const out = await exported('--artifact', path.join(stage().dir, 'image-1.2.0.bin'))
  expect(out.output).toMatch(/1 artifacts\. Fresh until/)
  stage().front.cut()
  const before = await device.wallet.balance()
  const ended = await applied(ahead(3 * DAY_MS))
  expect(ended.output).toMatch(/Waived: the expiry of timestamp \(expired .*There may be a newer release/)
  expect(ended.output).toContain('firmware 1.2.0: healthy')
  expect(ended.code).toBe(0)
  expect(sha256Of(installedFile(device, 'firmware', next.fileName))).toBe(next.sha256)
  expect(await device.wallet.balance()).toBe(before)
  stage().front.clear()
  device.program = device.start()
  await stage().healthy(next)
})

test('IMG.EXPIRED.OFFLINE, IMG.REPLACE, IMG.EXTRA: expired targets, an older stick, a changed and a longer artifact are refused; nothing installs', async () => {
  const { device } = stage()
  const next = await stage().ship('1.3.0')
  await stage().healthy(next)
  await device.program?.stop()
  const before = await stage().standing()

  const old = await applied()
  expect(old).toMatchObject({ code: 3 })
  expect(old.output).toMatch(/older than.*already seen/)
  expect(old.output).toContain('"attack":"rollback"')

  const newer = await stage().ship('1.4.0')
  await exported('--artifact', path.join(stage().dir, 'image-1.4.0.bin'))
  const expired = await applied(ahead(31 * DAY_MS))
  expect(expired).toMatchObject({ code: 3 })
  expect(expired.output).toMatch(/targets metadata expired/)

  const artifacts = path.join(stick(), 'v', fs.readdirSync(path.join(stick(), 'v'))[0] ?? '', 'artifacts')
  const artifact = path.join(artifacts, newer.sha256)
  const bytes = fs.readFileSync(artifact)
  fs.rmSync(artifact)
  fs.writeFileSync(artifact, Buffer.from(bytes).fill(1, 100, 200))
  const changed = await applied()
  expect(changed.code).toBe(4)
  expect(changed.output).toContain('"attack":"wrong-pieces"')
  // Every signed byte, and more behind them.
  fs.rmSync(artifact)
  fs.writeFileSync(artifact, Buffer.concat([bytes, Buffer.from('more')]))
  const longer = await applied()
  expect(longer.code).toBe(4)
  expect(longer.output).toContain('"attack":"wrong-pieces"')
  const after = await stage().standing()
  expect({ ...after, jobs: [] }).toEqual({ ...before, jobs: [] })
  fs.rmSync(artifact)
  fs.writeFileSync(artifact, bytes)
  expect((await applied()).output).toContain('firmware 1.4.0: healthy')
  device.program = device.start()
  await stage().healthy(newer)
})

/** A static web server over a directory; `spoil` changes what it has. */
async function host(directory: string): Promise<string> {
  const read = directoryFetch(directory)
  const server = http.createServer((request, response) => {
    const range = request.headers.range
    void read(
      `${DIRECTORY_URL}${request.url ?? '/'}`,
      range === undefined ? {} : { headers: { range } },
    ).then(async (answer) => {
      response.writeHead(answer.status, Object.fromEntries(answer.headers))
      response.end(Buffer.from(await answer.arrayBuffer()))
    })
  })
  servers.push(server)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('static mirrors are tried in turn: dead, lying, then right; the device installs and names the liar', async () => {
  const { device, front } = stage()
  await device.program?.stop()
  const release = await stage().ship('1.5.0')
  const vendor = fs.readdirSync(path.join(stick(), 'v'))[0] ?? ''
  const stale = path.join(stage().dir, 'stale')
  fs.cpSync(stick(), stale, { recursive: true })
  const timestamp = path.join(stale, 'v', vendor, 'metadata', 'timestamp.json')
  fs.writeFileSync(timestamp, fs.readFileSync(timestamp, 'utf8').replace('"version":', '"version":9'))
  await exported('--artifact', path.join(stage().dir, 'image-1.5.0.bin'))
  const liar = await host(stale)
  const right = await host(stick())
  const toml = fs.readFileSync(device.configFile, 'utf8')
  fs.writeFileSync(
    device.configFile,
    toml
      .replace('mirrors = []', `mirrors = ["http://127.0.0.1:9", "${liar}", "${right}"]`)
      .replace('mirror = "fallback"', 'mirror = "always"'),
  )
  // The relay's own mirror is silent; only its Nostr relay is there for the report.
  front.serve({ 'timestamp.json': (_request, response) => void response.destroy() })
  const since = stage().logLength()
  device.program = device.start()
  await stage().healthy(release)
  expect(await stage().named('arbitrary-software', since)).toContain(liar)
  expect(sha256Of(installedFile(device, 'firmware', release.fileName))).toBe(release.sha256)
  front.clear()
})
