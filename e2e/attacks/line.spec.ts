/**
 * Uptane's list and RFC 9124's, by their ids, and what a device must bear from relays and trackers. The device of this
 * file has a hostile tracker and a hostile Nostr relay among its own all the time, and installs nevertheless.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fromUtf8, utf8, type Bytes } from '../../web/core/bytes.ts'
import { signEvent } from '../../web/core/nostr/event.ts'
import { RELEASE } from '../../web/core/nostr/kinds.ts'
import { releaseEvent } from '../../web/core/release/announce.ts'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { readConfig } from '../../device/config/config.ts'
import { until } from '../support/processes.ts'
import { HARDWARE, PRICE } from '../support/world.ts'
import { evilEntry, forge, ownKeys } from './forge.ts'
import { openHostileSockets, type HostileSockets } from './hostile-sockets.ts'
import { firstVendor, recover } from './recovery.ts'
import { stageOfFile } from './stage.ts'

let hostile: HostileSockets
beforeAll(async () => {
  hostile = await openHostileSockets()
})
const stage = stageOfFile({
  edit: (toml) =>
    toml
      .replace('nostr_relays = []', `nostr_relays = ["${hostile.url}/nostr"]`)
      .replace('trackers = []', `trackers = ["${hostile.url}/tracker"]`),
})
afterAll(() => hostile.close())

const vendorId = (): string => {
  const status = stage().host.vendor.status.get()
  return status.tag === 'ready' ? status.vendor : ''
}
const evil = async () => {
  const { versions, entries, vendor } = await stage().state()
  return forge({
    keys: ownKeys,
    versions: {
      targets: versions.targets + 1,
      snapshot: versions.snapshot + 1,
      timestamp: versions.timestamp + 1,
    },
    entries: [...entries, evilEntry(entries[0]!)],
    vendor,
    nowMs: Date.now(),
  })
}

test('a hostile tracker and a hostile Nostr relay: the device has spoken to both, and firmware 1.0.0 runs', async () => {
  expect(hostile.heard.tracker).toBeGreaterThan(0)
  expect(hostile.heard.nostr).toBeGreaterThan(0)
  expect((await stage().standing()).jobs).toEqual([stage().first.path])
})

test('NET.REDIRECT: led to another server, the device believes it no more than the first', async () => {
  const { files } = await evil()
  const other = http.createServer((request, response) => {
    const bytes = Object.entries(files).find(([end]) => request.url?.endsWith(end))?.[1]
    response.writeHead(bytes ? 200 : 404).end(bytes)
  })
  await new Promise<void>((done) => other.listen(0, '127.0.0.1', done))
  const { port } = other.address() as AddressInfo
  const lead = (request: http.IncomingMessage, response: http.ServerResponse): void =>
    void response.writeHead(302, { location: `http://127.0.0.1:${port}${request.url ?? '/'}` }).end()
  await stage().refuses('arbitrary-software', { '/timestamp.json': lead })
  const loop = (request: http.IncomingMessage, response: http.ServerResponse): void =>
    void response.writeHead(302, { location: request.url ?? '/' }).end()
  await saysAndStands(/redirect count exceeded/, { '/timestamp.json': loop })
  other.close()
})

/** No attack can be told from trouble: it is said as such, and nothing changes. */
async function saysAndStands(
  reason: RegExp,
  answers: Parameters<ReturnType<typeof stage>['front']['serve']>[0] | 'cut',
  trigger: () => unknown = stage().look,
): Promise<void> {
  const before = await stage().standing()
  const since = stage().logLength()
  if (answers === 'cut') stage().front.cut()
  else stage().front.serve(answers)
  await trigger()
  await stage().says(reason, since)
  stage().front.clear()
  expect(await stage().standing()).toEqual(before)
}

test.each<[string, Bytes]>([
  ['nested 8000 deep', utf8(`{"signed":${'['.repeat(8000)}${']'.repeat(8000)},"signatures":[]}`)],
  ['with numbers past all bounds', utf8('{"signed":{"_type":"timestamp","version":1e400},"signatures":[]}')],
  ['that is no UTF-8', new Uint8Array(1000).fill(0xff)],
  ['that is another kind of JSON', utf8('"timestamp"')],
])('metadata bombs: a timestamp %s is refused at once', async (_name, bytes) => {
  await stage().names('malformed', { '/timestamp.json': bytes })
})

test('metadata bombs: a timestamp that unpacks to more than it may have is not unpacked to its end', async () => {
  const bomb = gzipSync(Buffer.alloc(20_000_000))
  await stage().names('endless-data', {
    '/timestamp.json': (_request, response) =>
      void response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb),
  })
})

test('metadata bombs: a root with a thousand signatures and more than a thousand keys is refused', async () => {
  const signatures = Array.from({ length: 1000 }, (_, i) => ({
    keyid: i.toString(16).padStart(64, '0'),
    sig: 'a'.repeat(128),
  }))
  const keys = Object.fromEntries(
    Array.from({ length: 1200 }, (_, i) => [
      i.toString(16).padStart(64, '0'),
      { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: 'b'.repeat(64) } },
    ]),
  )
  const { signed } = JSON.parse(fromUtf8(await stage().file('1.root.json'))) as { signed: object }
  const bomb = utf8(JSON.stringify({ signed: { ...signed, version: 2, keys }, signatures }))
  await stage().refuses('arbitrary-software', { '/2.root.json': bomb })
})

test('MFST.MODIFICATION, IMG.LOCATION, IMG.FORMAT, UPD.WRONG_PRECURSOR, IMG.EXTRA, MFST.OVERRIDE: no changed word passes', async () => {
  const { versions } = await stage().state()
  const target = `/${versions.targets + 1}.targets.json`
  const before = await stage().standing()
  // The vendor publishes a release that fits no device here, so that there are new targets to change.
  const changes: [string, (text: string) => string][] = [
    ['where it is fetched', (text) => text.replace('magnet:?', 'magnet:?tr=wss://mallory.example&')],
    ['where it is installed', (text) => text.replaceAll('"product":"firmware"', '"product":"valvewar"')],
    ['the format', (text) => text.replace('"fileName"', '"installer":"sh","fileName"')],
    ['the precursor', (text) => text.replace('"fileName"', '"upgradesFrom":"0.0.1","fileName"')],
    ['the hardware', (text) => text.replaceAll('another-board', HARDWARE)],
    ['the price cap', (text) => text.replaceAll('"priceCapMsat":1000', '"priceCapMsat":9999')],
    ['bytes at the end', (text) => `${text} `],
    ['nothing but one letter', (text) => text.replace('firmware', 'Firmware')],
    [
      'a second word for one name',
      (text) => text.replace('{"signatures"', '{"signed":{"version":1},"signatures"'),
    ],
  ]
  const file = path.join(stage().dir, 'image-2.0.0.bin')
  fs.writeFileSync(file, randomBytes(1000))
  stage().front.serve({ [target]: 'nothing yet' })
  await stage().host.ship(file, {
    product: 'firmware',
    version: '2.0.0',
    hardware: ['another-board'],
    priceCapMsat: PRICE,
  })
  const honest = fromUtf8(await fetchFrom(stage().house.relay.url, target))
  for (const [what, change] of changes) {
    const changed = change(honest)
    expect(changed, what).not.toBe(honest)
    // What is longer than the list says is not even read to its end.
    const attack = utf8(changed).length > utf8(honest).length ? 'endless-data' : 'mix-and-match'
    // What is honest is never there in between: the device may look again by itself.
    const asked = stage().logLength()
    stage().front.serve({ [target]: changed })
    stage().look()
    await stage().named(attack, asked)
  }
  stage().front.clear()
  const since = stage().logLength()
  stage().look()
  await stage().says(/"targets":\d+,"releases":2/, since)
  expect(await stage().standing()).toEqual(before)
  await until('the vendor to hear of them', 30_000, () => {
    const told = stage()
      .refused()
      .map(({ attack }) => attack)
    return ['malformed', 'mix-and-match', 'endless-data'].every((one) => told.includes(one))
      ? true
      : undefined
  })
})
const fetchFrom = async (relay: string, end: string): Promise<Bytes> =>
  new Uint8Array(await (await fetch(`${relay}/v/${vendorId()}/metadata${end}`)).arrayBuffer())

test('IMG.INCOMPATIBLE, IMG.FORMAT and UPD.WRONG_PRECURSOR: signed, and still not for this device', async () => {
  const before = await stage().standing()
  const file = path.join(stage().dir, 'image-2.1.0.bin')
  fs.writeFileSync(file, randomBytes(1000))
  const since = stage().logLength()
  await stage().host.ship(file, {
    product: 'firmware',
    version: '2.1.0',
    hardware: [HARDWARE],
    upgradesFrom: '2.0.0',
    priceCapMsat: PRICE,
  })
  const image = { product: 'firmware', version: '2.1.1', hardware: [HARDWARE], installer: 'rauc' }
  await stage().host.ship(file, { ...image, priceCapMsat: PRICE })
  await stage().says(/"targets":\d+,"releases":4/, since)
  const notice = await until('the device to say why', 30_000, () => {
    const text = fs.readFileSync(path.join(stage().device.dataDir, 'state.json'), 'utf8')
    const why = (JSON.parse(text) as { notice: string | null }).notice
    return why?.includes('"rauc", and this device has no install command') === true ? why : undefined
  })
  expect(notice).toContain(
    'firmware 2.1.1 is for the installer "rauc", and this device has no install command',
  )
  expect(notice).toContain('firmware 2.0.0 is for another-board')
  expect(await stage().standing()).toEqual(before)
})

test('partial bundle: new lists without the targets that they name change nothing', async () => {
  const { versions } = await stage().state()
  const missing = `${versions.targets + 1}.targets.json`
  const file = path.join(stage().dir, 'image-2.2.0.bin')
  fs.writeFileSync(file, randomBytes(1000))
  const form = { product: 'firmware', version: '2.2.0', hardware: ['another-board'], priceCapMsat: PRICE }
  await saysAndStands(new RegExp(`it lacks ${missing}`), { [`/${missing}`]: null }, () =>
    stage().host.ship(file, form),
  )
})

test('announcements that are forged or replayed move nothing; a flood of them is counted, not obeyed', async () => {
  const { house, host, device } = stage()
  const before = await stage().standing()
  const since = stage().logLength()
  const pool = createPool([`${house.relay.url.replace('http', 'ws')}/nostr`])
  const release = stage().first
  const secret = new Uint8Array(32).fill(5)
  const forged = (targetsVersion: number, nonce: number) =>
    signEvent(
      releaseEvent({
        vendor: vendorId() as never,
        release: { ...release, version: `6.6.${nonce}` },
        status: 'live',
        targetsVersion,
        createdAtS: Math.floor(Date.now() / 1000),
      }),
      secret,
      new Uint8Array(randomBytes(32)),
    )
  await pool.publish(forged(1_000_000, 0))
  await stage().named('forged-announcement', since)
  // The vendor's own words of before, again.
  const old = JSON.parse(host.vendor.floor.get() ?? 'null') as Parameters<typeof pool.publish>[0] | null
  if (old !== null) await pool.publish(old)
  await Promise.allSettled(Array.from({ length: 200 }, (_, i) => pool.publish(forged(2_000_000, i + 1))))
  pool.close()
  await until('the count', 30_000, () => {
    const row = stage()
      .refused()
      .find(({ attack }) => attack === 'forged-announcement')
    return row !== undefined && row.count > 10 ? row : undefined
  })
  const lines = fs.readFileSync(device.program?.logFile ?? '', 'utf8').split('forged-announcement').length
  expect(lines).toBeLessThan(150)
  expect(await stage().standing()).toEqual(before)
  expect(RELEASE).toBe(30063)
})

test('eavesdropping and MFST.EXPOSURE: who reads the whole line learns what is public, and no secret', async () => {
  const { device, front } = stage()
  const parts: Uint8Array[] = []
  front.onBytes = (_direction, bytes) => void parts.push(Uint8Array.from(bytes))
  const release = await stage().ship('3.0.0', 40_000)
  await stage().healthy(release)
  front.onBytes = undefined
  const line = Buffer.concat(parts.map(unmasked)).toString('latin1')
  // What he gets: which versions there are, whom they are for, and that this key runs one of them.
  expect(line).toContain('"targets"')
  // What he does not get.
  const config = await readConfig(device.configFile)
  const toml = fs.readFileSync(device.configFile, 'utf8')
  const secrets = [/^device = "(\w+)"/m, /^wallet_client = "(\w+)"/m, /secret=(\w{64})/].map(
    (one) => one.exec(toml)?.[1] ?? '',
  )
  const artifact = fs.readFileSync(path.join(stage().dir, 'image-3.0.0.bin')).subarray(1000, 1064)
  expect(secrets.every((secret) => secret.length === 64)).toBe(true)
  for (const secret of secrets) expect(line).not.toContain(secret)
  expect(line).not.toContain(artifact.toString('latin1'))
  for (const word of ['"paidMsat"', '"balanceMsat"', config.name]) expect(line).not.toContain(word)
})

/** A client's WebSocket frames are masked (RFC 6455); the eavesdropper takes the mask off. */
function unmasked(bytes: Uint8Array): Uint8Array {
  const length = (bytes[1] ?? 0) & 0x7f
  if (((bytes[1] ?? 0) & 0x80) === 0) return bytes
  const at = length === 126 ? 4 : length === 127 ? 10 : 2
  const mask = bytes.subarray(at, at + 4)
  return bytes.subarray(at + 4).map((byte, i) => byte ^ (mask[i % 4] ?? 0))
}

test('KEY.EXPOSURE: keys are the owner’s alone on disk, and no log or record has one', async () => {
  const { device, house, dir } = stage()
  const toml = fs.readFileSync(device.configFile, 'utf8')
  const secrets = [...toml.matchAll(/"([0-9a-f]{64})"|secret=([0-9a-f]{64})/g)].flatMap(([, a, b]) => [
    a ?? b ?? '',
  ])
  const config = await readConfig(device.configFile)
  const known = new Set([...secrets].filter((one) => one !== config.vendor))
  const relayKeys = JSON.parse(fs.readFileSync(path.join(house.relay.dataDir, 'keys.json'), 'utf8')) as object
  for (const value of Object.values(relayKeys)) if (typeof value === 'string') known.add(value)
  expect(known.size).toBeGreaterThanOrEqual(5)
  const exposed: string[] = []
  const told: string[] = []
  const keyFiles = new Set([device.configFile, path.join(house.relay.dataDir, 'keys.json')])
  for (const name of fs.readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
    const file = path.join(dir, name)
    const info = fs.lstatSync(file, { throwIfNoEntry: false })
    if (info?.isFile() !== true) continue // also one that was moved into its place meanwhile
    const isPublic = file.startsWith(path.join(device.dataDir, 'products'))
    if (file.startsWith(device.dataDir) && !isPublic && (info.mode & 0o077) !== 0) exposed.push(name)
    if (keyFiles.has(file)) {
      if ((info.mode & 0o777) !== 0o600) exposed.push(name)
      continue
    }
    const text = readIfThere(file)
    if ([...known].some((secret) => text.includes(secret))) told.push(name)
  }
  expect(exposed).toEqual([])
  expect(told).toEqual([])
})

/** The device goes on writing: a file may be gone by now. */
function readIfThere(file: string): string {
  try {
    return fs.readFileSync(file, 'latin1')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}

test('names with ../, reserved, reversed, endless: the vendor’s own hand could not make a device store them', async () => {
  const { versions, entries, vendor } = await stage().state()
  const names = [
    '../../etc/passwd',
    '/etc/passwd',
    '..',
    'CON',
    'a\u202egnp.exe',
    'n'.repeat(10_000),
    'x\u0000y',
    'a\\b',
  ]
  const like = entries[0]!
  const bad = names.map((fileName, i) => ({
    ...evilEntry(like, `9.0.${i}`, { fileName: fileName.slice(0, 200) }),
    path: `firmware/9.0.${i}/${fileName}`,
  }))
  const { files } = forge({
    keys: stage().keys,
    versions: {
      targets: versions.targets + 1,
      snapshot: versions.snapshot + 1,
      timestamp: versions.timestamp + 1,
    },
    entries: [...entries, ...bad],
    vendor,
    nowMs: Date.now(),
  })
  await stage().logHasRoom()
  await stage().refuses('unsafe-name', files)
  const vendorNow = await recover(stage(), firstVendor(stage()))
  expect(vendorNow.rootVersion).toBe(2)
})
