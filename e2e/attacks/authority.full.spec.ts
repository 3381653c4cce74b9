/** Who has a right to say something, and says more: delegates, mirrors about what was withdrawn, devices in reports. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import { sha256Hex, type Bytes, type PartyKey } from '../../web/core/bytes.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import { REPORT } from '../../web/core/nostr/kinds.ts'
import {
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  type TargetEntry,
} from '../../web/core/release/repository.ts'
import { signWith, testKey } from '../../web/core/release/test-repository.ts'
import type { Release } from '../../web/core/release/target.ts'
import type { Report } from '../../web/core/rollout/messages.ts'
import { wrap } from '../../web/edge/nostr/nip59.ts'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { metadataUrl } from '../../web/edge/release/mirror.ts'
import { hashArtifact } from '../../web/edge/swarm/hash-artifact.ts'
import { readConfig } from '../../device/config/config.ts'
import { rawPeer } from '../peers/raw-peer.ts'
import { until } from '../support/processes.ts'
import { openHouse } from '../support/house.ts'
import { openVendor, random } from '../support/vendor-host.ts'
import { HARDWARE, PRICE } from '../support/world.ts'
import { evilEntry } from './forge.ts'
import { stageOfFile } from './stage.ts'

const stage = stageOfFile()
const closing: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const close of closing.reverse()) await close()
})
const vendorId = () => {
  const status = stage().host.vendor.status.get()
  if (status.tag !== 'ready') throw new Error('The vendor is gone.')
  return status.vendor
}
const onRelay = async (name: string): Promise<Bytes> =>
  new Uint8Array(await (await fetch(metadataUrl(stage().house.relay.url, vendorId(), name))).arrayBuffer())

test('UPD.UNAPPROVED: what the vendor has withdrawn is not installed, though a mirror goes on showing it', async () => {
  const { front, host } = stage()
  const before = await stage().standing()
  const stale = await stage().file('timestamp.json')
  // The device hears that there is something newer, and is shown nothing of it.
  await stage().refuses('freeze', { '/timestamp.json': stale }, () => {
    front.serve({ '/timestamp.json': stale })
    return stage().ship('1.1.0')
  })
  front.serve({ '/timestamp.json': stale })
  const withRelease = await onRelay('timestamp.json')
  const release = host.vendor.releases.get().find((one) => one.release.version === '1.1.0')?.release
  const since = stage().logLength()
  await host.vendor.withdraw(release?.path ?? '')
  await stage().says(new RegExp(`announced.*${targetsNow()}`), since)
  await stage().refuses('freeze', { '/timestamp.json': withRelease })
  const cleared = stage().logLength()
  stage().look()
  await stage().says(/"releases":1/, cleared)
  expect(await stage().standing()).toEqual(before)
})
const targetsNow = (): number => {
  const status = stage().host.vendor.status.get()
  return status.tag === 'ready' ? status.targetsVersion : 0
}

test('UPD.UNAPPROVED: a device that the vendor has not accepted buys and installs nothing, and says why', async () => {
  const { house, host, dir } = stage()
  const dataDir = path.join(dir, 'stranger')
  const config = path.join(dataDir, 'device.toml')
  // It has sats of its own: nothing but the vendor's word keeps it from buying.
  const walletFile = path.join(dir, 'stranger-wallet.txt')
  const { connection } = await openPlayAccount(house.relay.url, { name: 'stranger' })
  fs.writeFileSync(walletFile, connection, { mode: 0o600 })
  const init = ['device', 'init', '--no-wait', '--join', await host.vendor.makeJoinCode()]
  const known = [
    '--config',
    config,
    '--name',
    'stranger',
    '--hardware',
    HARDWARE,
    '--wallet-file',
    walletFile,
  ]
  await house.programs.satpatch('stranger-init', [...init, ...known]).exited
  const stranger = house.programs.satpatch('stranger', ['device', 'run', '--config', config])
  const row = await until(
    'the vendor to hear why it waits',
    45_000,
    () => host.vendor.fleet.get().unenrolled.find(({ reason }) => reason !== undefined),
    () => stranger.tail(),
  )
  expect(row.reason).toMatch(/[0-9A-Z]{4}-[0-9A-Z]{4}/)
  const { dataDir: data } = await readConfig(config)
  const phase = await until(
    'the stranger to have decided what to do about the release',
    45_000,
    () => {
      const text = fs.readFileSync(path.join(data, 'state.json'), 'utf8')
      const [job] = (JSON.parse(text) as { jobs: { phase: { tag: string } }[] }).jobs
      return job === undefined || job.phase.tag === 'announced' ? undefined : job.phase
    },
    () => stranger.tail(),
  )
  expect(phase).toMatchObject({ tag: 'queued', wait: { why: 'not-accepted' } })
  await stranger.stop()
  expect(fs.existsSync(path.join(data, 'products', 'firmware', 'current'))).toBe(false)
  expect(fs.existsSync(path.join(data, 'downloads', stage().first.infoHash, 'artifact'))).toBe(false)
})

test('a device is bound to its vendor: another one is refused, by --reset too where nobody knows it, and all stays', async () => {
  const { house, device } = stage()
  const before = fs.readFileSync(device.configFile, 'utf8')
  const other = ['--vendor', 'ab'.repeat(32), '--relay', house.relay.url, '--config', device.configFile]
  for (const more of [[], ['--reset']]) {
    const program = house.programs.satpatch(`other-vendor${more.join('')}`, [
      'device',
      'init',
      ...other,
      ...more,
    ])
    expect(await program.exited).toBe(3)
    expect(program.tail()).toMatch(more.length === 0 ? /--reset/ : /does not know this vendor/)
    expect(fs.readFileSync(device.configFile, 'utf8')).toBe(before)
  }
})

test('reports that are replayed, changed, or of a key that is not enrolled move no count and no sum', async () => {
  const { host, device, house, first } = stage()
  const view = () => host.vendor.fleet.get().releases.find(({ release }) => release.path === first.path)!
  const sums = () => {
    const { healthy, enrolled, paidMsat, receipts, sellers } = view()
    return { healthy, enrolled, paidMsat, receipts, sellers }
  }
  const report = view().devices[0]?.report
  if (report === undefined) throw new Error('The device has not reported.')
  const before = sums()
  expect(before).toMatchObject({ healthy: 1, enrolled: 1 })
  const { secret } = (await readConfig(device.configFile)).identity
  const thief = random(32)
  const pool = createPool([`${house.relay.url.replace('http', 'ws')}/nostr`])
  const say = (words: Report, author: Uint8Array) => {
    const created_at = Math.floor(words.finishedAt / 1000)
    const tags = [['p', host.keys.nostr.key]]
    const template = { kind: REPORT, created_at, tags, content: JSON.stringify(words) }
    return pool.publish(wrap(template, author as Bytes, host.keys.nostr.key))
  }
  await say(report, secret) // word for word again
  await say(
    { ...report, outcome: 'failed', reason: 'changed my mind', finishedAt: report.finishedAt + 1000 },
    secret,
  )
  await say({ ...report, receipts: 0, paidMsat: 0 as never, sellers: [] }, thief)
  await until('the changed one to be refused', 45_000, () => (view().refused === 1 ? true : undefined))
  await until('the stranger to be shown', 45_000, () =>
    view().unenrolled.find((one) => one.device === publicKey(thief)),
  )
  pool.close()
  expect(sums()).toEqual(before)
})

test('a torrent whose name leads elsewhere: the release installs under its signed name, and nothing is written outside', async () => {
  const { device, host, house, dir } = stage()
  const bytes = randomBytes(50_000)
  const source = {
    length: bytes.length,
    read: (at: number, n: number) => Promise.resolve(bytes.subarray(at, at + n)),
  }
  const form = {
    product: 'firmware',
    version: '1.2.0',
    hardware: [HARDWARE],
    priceCapMsat: PRICE,
    fileName: 'good.bin',
  }
  const climbing = '../../../../../../climbed\u202e'
  const hashed = await hashArtifact(source, climbing, [host.config.trackerUrl])
  let parties = 0
  const trackerOf = () => `${house.relay.url.replace('http', 'ws')}/tracker?party=${++parties}`
  await rawPeer(
    { meta: hashed.meta, trackerOf, onClose: (run) => void closing.push(run) },
    { content: bytes },
  )
  const [release] = await host.vendor.publish([{ ...hashed, form }])
  await stage().healthy(release as Release)
  const current = path.join(device.dataDir, 'products', 'firmware', 'current')
  expect(fs.readdirSync(current)).toEqual(['good.bin'])
  expect(sha256Hex(fs.readFileSync(path.join(current, 'good.bin')))).toBe(release?.sha256)
  const written = fs.readdirSync(dir, { recursive: true, encoding: 'utf8' })
  expect(written.filter((name) => name.includes('climbed'))).toEqual([])
  expect(fs.existsSync(path.resolve(device.dataDir, climbing))).toBe(false)
})

const valve = testKey('valve delegate')
const delegateValve = () =>
  stage().host.vendor.delegate({
    product: 'valve',
    name: 'Valve team',
    key: valve.public,
    nostr: 'cd'.repeat(32) as PartyKey,
  })
const fileOf = ({ bytes, sha256, custom }: TargetEntry) => ({ length: bytes, hashes: { sha256 }, custom })

/** What a thief shows who has the delegate's key and the relay's: `targets` as the delegate's own, in lists of `version`. */
async function byDelegate(version: number, targets: Readonly<Record<string, unknown>>) {
  const { keys } = stage()
  const { versions } = await stage().state()
  const nowMs = Date.now()
  const signed = { ...buildTargets({ version, nowMs, targets: [] }), targets }
  const nothing = new Uint8Array()
  const snapshot = buildSnapshot({ version, nowMs, targetsVersion: versions.targets, targets: nothing })
  const meta = { 'targets.json': { version: versions.targets }, 'product-valve.json': { version } }
  const timestamp = buildTimestamp({ version, nowMs, snapshotVersion: version, snapshot: nothing })
  return {
    '/timestamp.json': signWith({ ...timestamp, meta: { 'snapshot.json': { version } } }, keys.timestamp),
    [`/${version}.snapshot.json`]: signWith({ ...snapshot, meta }, keys.snapshot),
    [`/${version}.product-valve.json`]: signWith(signed, valve),
  }
}

test('MFST.OVERRIDE, a delegate’s key stolen, and the relay’s too: of other products, and over the vendor’s word, nothing counts', async () => {
  await delegateValve()
  const { entries } = await stage().state()
  const own = entries[0]!
  const evil = evilEntry(own)
  const row = await stage().refuses(
    'override',
    await byDelegate(100, {
      // Other bytes for what the vendor signed, and a newer one of another product.
      [stage().first.path]: { ...fileOf(evil), custom: own.custom },
      [evil.path]: fileOf(evil),
      'firmware/6.6.7/x': fileOf(evil),
    }),
  )
  expect(row).toMatchObject({ from: 'product-valve', text: expect.stringMatching(/firmware\/.* and 2 more/) })
})

test('IMG.LOCATION: a delegate’s key signs for another product’s slots under a path of its own, and for a place outside of all', async () => {
  const own = (await stage().state()).entries[0]!
  const evil = evilEntry(own)
  const elsewhere = await stage().refuses(
    'wrong-place',
    await byDelegate(200, { 'valve/6.6.6/evil.bin': fileOf(evil) }),
  )
  expect(elsewhere).toMatchObject({ from: 'product-valve', text: expect.stringContaining('valve/6.6.6') })
  const outside = evilEntry(own, '6.6.7', { product: 'valve', fileName: 'x\\..\\..\\climbed' })
  await stage().refuses('unsafe-name', await byDelegate(201, { [outside.path]: fileOf(outside) }))
  expect(fs.readdirSync(path.join(stage().device.dataDir, 'products'))).toEqual(['firmware'])
})

test('IMG.FORMAT: signed as an image for an installer, as a delta, under a cipher that nobody knows: no slot takes it for a plain file', async () => {
  const { device, front } = stage()
  const own = (await stage().state()).entries[0]!
  const as = (version: string, more: object) => fileOf(evilEntry(own, version, { product: 'valve', ...more }))
  const unknown = { cipher: 'ROT13', sha256: own.sha256, bytes: own.bytes, keys: 'valve/7.0.2/evil.bin.keys' }
  const answers = await byDelegate(300, {
    'valve/7.0.0/evil.bin': as('7.0.0', { installer: 'rauc' }),
    'valve/7.0.1/evil.bin': as('7.0.1', { deltaFrom: own.sha256 }),
    'valve/7.0.2/evil.bin': as('7.0.2', { encrypted: unknown }),
  })
  const before = await stage().standing()
  const since = stage().logLength()
  front.serve(answers)
  stage().look()
  await stage().says(/valve\/7\.0\.2.*its custom data is not a release/, since)
  const notice = await until('the device to say why', 45_000, () => {
    const text = fs.readFileSync(path.join(device.dataDir, 'state.json'), 'utf8')
    const why = (JSON.parse(text) as { notice: string | null }).notice
    return why?.includes('valve 7.0.0 is for the installer "rauc"') === true ? why : undefined
  })
  expect(notice).toContain('valve 7.0.1 is a delta')
  front.clear()
  expect(await stage().standing()).toEqual(before)
})

test('handed over to another vendor by hand, a device installs what that one signs, and nothing of the first any more', async () => {
  const { device, dir, host } = stage()
  await device.program?.stop()
  const house = await openHouse({
    dir: path.join(dir, 'second'),
    port: 0,
    grantSats: 1_000_000,
    accounts: 10,
  })
  closing.push(() => house.stop())
  const second = await openVendor({
    relayUrl: house.relay.url,
    admission: house.relay.admission ?? '',
    name: 'Second vendor',
    dataDir: path.join(dir, 'second-vendor'),
    price: PRICE,
    gifts: 0,
    log: () => undefined,
  })
  closing.push(() => second.close())
  const file = path.join(dir, 'second.bin')
  fs.writeFileSync(file, randomBytes(50_000))
  // Older than what runs: of another vendor no version is a floor.
  const form = { product: 'firmware', version: '0.1.0', hardware: [HARDWARE], priceCapMsat: PRICE }
  const { release } = await second.ship(file, form)
  const init = ['device', 'init', '--reset', '--join', await second.vendor.makeJoinCode()]
  const known = ['--config', device.configFile, '--name', 'device-1', '--hardware', HARDWARE]
  const joining = house.programs.satpatch('device-1-again', [...init, ...known])
  const request = await until(
    'the request to join the second vendor',
    45_000,
    () => second.vendor.joinRequests.get()[0],
    () => joining.tail(),
  )
  const grant = { name: 'device-1', fundMsat: msat(1_000_000), wallet: second.wallet }
  await second.vendor.accept(request.id, grant)
  expect(await joining.exited).toBe(0)
  const program = house.programs.satpatch('device-1-second', ['device', 'run', '--config', device.configFile])
  await until(
    'the device to report to the second vendor',
    45_000,
    () => second.vendor.fleet.get().devices.find(({ key }) => key === request.device)?.releases[0]?.report,
    () => program.tail(),
  )
  const current = path.join(device.dataDir, 'products', 'firmware', 'current')
  expect(sha256Hex(fs.readFileSync(path.join(current, release.fileName)))).toBe(release.sha256)
  await program.stop()
  expect(host.vendor.fleet.get().devices.find(({ key }) => key === request.device)).toBeUndefined()
})
