/** Confidential releases: what eavesdroppers, carriers, lying mirrors and revoked devices get. */
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { Release } from '../../web/core/release/target.ts'
import { enrol, isEnrolled } from '../../web/core/rollout/roster.ts'
import { keyText } from '../../web/core/release/confidential.ts'
import { readersOf, unwrapKey, wrapKeys } from '../../web/edge/confidential/keys.ts'
import { readConfig } from '../../device/config/config.ts'
import { installedFile } from '../support/house.ts'
import { until } from '../support/processes.ts'
import { root, run } from '../support/run.ts'
import { msat } from '../../web/core/money/msat.ts'
import { random } from '../support/vendor-host.ts'
import { HARDWARE } from '../support/world.ts'
import { signEvent } from '../../web/core/nostr/event.ts'
import { ROSTER } from '../../web/core/nostr/kinds.ts'
import { encryptTo } from '../../web/edge/nostr/nip44.ts'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { cryptFile } from '../../device/storage/crypt-file.ts'
import { stageOfFile } from './stage.ts'

const stage = stageOfFile()
const confidential = { confidential: true }
const BYTES = 300_000

const plainFile = ({ version }: Release): string => path.join(stage().dir, `image-${version}.bin`)
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const keysOf = (release: Release) => {
  if (!release.confidential) throw new Error(`${release.path} is not confidential`)
  return release.confidential.keys
}
/** 64 bytes out of the middle: found wherever they were copied to. */
const sampleOf = (release: Release): Buffer => fs.readFileSync(plainFile(release)).subarray(100_000, 100_064)
const filesBelow = (dir: string): string[] =>
  fs
    .readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))

test('IMG.DISCLOSURE and eavesdropping: the device installs what it alone can read; carriers and the whole line have other bytes', async () => {
  const { device, front, house } = stage()
  const line: Uint8Array[] = []
  front.onBytes = (_direction, bytes) => void line.push(Uint8Array.from(bytes))
  const carrier = await house.distributor('carrier', msat(1000))
  const release = await stage().ship('1.1.0', BYTES, confidential)
  await stage().healthy(release)
  front.onBytes = undefined

  const plain = fs.readFileSync(plainFile(release))
  expect(sha256(fs.readFileSync(installedFile(device, 'firmware', release.fileName)))).toBe(sha256(plain))
  expect(release.confidential?.sha256).toBe(sha256(plain))
  expect(release.sha256).not.toBe(sha256(plain))

  // A distributor has every byte that travels, and none of the plain ones.
  const carried = await until(
    'the distributor to have it all',
    60_000,
    () =>
      filesBelow(carrier.dataDir).find(
        (file) =>
          fs.statSync(file, { throwIfNoEntry: false })?.size === BYTES &&
          sha256(fs.readFileSync(file)) === release.sha256,
      ),
    () => carrier.program.tail(),
  )
  expect(fs.readFileSync(carried).includes(sampleOf(release))).toBe(false)
  await carrier.program.stop()
  for (const file of filesBelow(carrier.dataDir))
    expect(fs.readFileSync(file).includes(sampleOf(release))).toBe(false)

  // Who reads the line has the list of wrapped keys, and opens none of them.
  const { key, secret } = (await readConfig(device.configFile)).identity
  const list = new Uint8Array(
    await (await fetch(`${house.relay.url}/v/${vendorId()}/blobs/${keysOf(release).sha256}`)).arrayBuffer(),
  )
  expect(unwrapKey(list, random(32)).tag).toBe('not-listed')
  const own = unwrapKey(list, secret)
  if (own.tag !== 'ok') throw new Error(own.tag)
  const heard = Buffer.concat(line)
  expect(heard.includes(Buffer.from(list).subarray(-40))).toBe(true)
  expect(heard.includes(sampleOf(release))).toBe(false)
  for (const told of [Buffer.from(own.key), Buffer.from(keyText(own.key))])
    for (const bytes of [heard, Buffer.from(list)]) expect(bytes.includes(told)).toBe(false)
  // The vendor alone learns from it for whom it is. The list names no device.
  expect(await stage().host.vendor.readers(release.path)).toEqual([key])
  expect(await readersOf(list, secret, [key])).toBeUndefined()
  expect(Buffer.from(list).includes(Buffer.from(key, 'hex'))).toBe(false)
  // Nor is the key in the device's log or kept in the clear.
  for (const file of [device.program?.logFile ?? '', ...filesBelow(device.dataDir)]) {
    const bytes = fs.readFileSync(file)
    expect(bytes.includes(Buffer.from(own.key)) || bytes.includes(keyText(own.key))).toBe(false)
  }
})

const vendorId = (): string => {
  const status = stage().host.vendor.status.get()
  return status.tag === 'ready' ? status.vendor : ''
}

test('lists of keys that are not the signed one are refused before a sat is spent: another list, an endless one', async () => {
  const { front } = stage()
  // Wrapped for the device, by the attacker: it would install what he encrypts, were the list not signed.
  const forged = await wrapKeys({ key: random(32), readers: [stage().device.key], sender: random(32) })
  const before = await stage().standing()
  front.cut()
  const release = await stage().ship('1.2.0', BYTES, confidential)
  const { sha256: list, bytes } = keysOf(release)
  let since = stage().logLength()
  front.clear()
  front.serve({ [`/blobs/${list}`]: forged })
  stage().look()
  await stage().named('mix-and-match', since)
  since = stage().logLength()
  front.serve({ [`/blobs/${list}`]: new Uint8Array(bytes + 1) })
  await stage().named('endless-data', since)
  const now = await stage().standing()
  expect(now.balance).toBe(before.balance)
  expect(now.installed).toEqual(before.installed)
  expect(now.bytes).toBe(before.bytes)
  front.clear()
  await stage().healthy(release)
})

test('a device without network takes a confidential release from a stick; the plain file does not go onto one', async () => {
  const { device, host, house } = stage()
  await device.program?.stop()
  const release = await stage().ship('1.3.0', BYTES, confidential)
  const stick = path.join(stage().dir, 'stick')
  const satpatch = (...args: string[]) =>
    run(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', path.join(root, 'device/main.ts'), ...args],
      { timeoutMs: 60_000 },
    )
  const toStick = (file: string) => satpatch('export', stick, '--relay', house.relay.url, '--artifact', file)
  const refused = await toStick(plainFile(release))
  expect(refused.code).toBe(3)
  expect(refused.output).toContain('which is encrypted')
  expect(filesBelow(stick).some((file) => fs.readFileSync(file).includes(sampleOf(release)))).toBe(false)

  const encrypted = path.join(stage().dir, 'encrypted.bin')
  const list = fs.readFileSync(path.join(stick, 'v', vendorId(), 'blobs', keysOf(release).sha256))
  const own = unwrapKey(list, host.keys.nostr.secret)
  if (own.tag !== 'ok') throw new Error(own.tag)
  expect(await cryptFile(plainFile(release), encrypted, own.key)).toBe(release.sha256)
  expect(await toStick(encrypted)).toMatchObject({ code: 0 })
  expect(filesBelow(stick).some((file) => fs.readFileSync(file).includes(sampleOf(release)))).toBe(false)

  stage().front.cut()
  const applied = await satpatch('apply', stick, '--config', device.configFile, '--log-level', 'warn')
  expect(applied.output).toContain('firmware 1.3.0: healthy')
  expect(sha256(fs.readFileSync(installedFile(device, 'firmware', release.fileName)))).toBe(
    release.confidential?.sha256,
  )
  stage().front.clear()
  device.program = device.start()
  await stage().healthy(release)
})

test('killed with its plain file half written, the device begins to decrypt again and installs', async () => {
  const { device, front } = stage()
  // No plain file may stand there: the device cannot put its own in its place, and says so, until it is killed.
  front.cut()
  const release = await stage().ship('1.4.0', BYTES, confidential)
  const blocked = path.join(device.dataDir, 'downloads', release.infoHash, 'plain')
  fs.mkdirSync(path.join(blocked, 'not-empty'), { recursive: true })
  const before = await stage().standing()
  front.clear()
  stage().look()
  await until('it to be bought', 60_000, () =>
    fs.existsSync(path.join(path.dirname(blocked), 'keys')) && device.program?.tail(20).includes('queued')
      ? true
      : undefined,
  )
  expect((await stage().standing()).bytes).toBe(before.bytes)
  device.program?.kill('SIGKILL')
  await device.program?.exited
  fs.rmSync(blocked, { recursive: true })
  fs.writeFileSync(`${blocked}.tmp`, 'half of it')
  device.program = device.start()
  await stage().healthy(release)
  expect(sha256(fs.readFileSync(installedFile(device, 'firmware', release.fileName)))).toBe(
    release.confidential?.sha256,
  )
})

test('a revoked device cannot read the next release: it buys nothing and says why; wrapped again for it, it goes on', async () => {
  const { device, host } = stage()
  await host.vendor.revoke(device.key)
  const before = await stage().standing()
  const since = stage().logLength()
  const release = await stage().ship('1.5.0', BYTES, confidential)
  await stage().says(/it is encrypted, and not for this device/, since)
  expect(await host.vendor.readers(release.path)).toEqual([])
  expect({ ...(await stage().standing()), jobs: before.jobs }).toEqual(before)
  const downloads = path.join(device.dataDir, 'downloads', release.infoHash)
  expect(fs.existsSync(path.join(downloads, 'artifact'))).toBe(false)
  await until('the vendor to hear why', 45_000, () => {
    const row = host.vendor.fleet.get().unenrolled.find(({ key }) => key === device.key)
    return row?.reason?.includes('not for this device') === true ? true : undefined
  })

  // Enrolled again, as another tab of the vendor's would: the list of this release is still the one without it.
  const member = { key: device.key, name: 'device-1', hardware: HARDWARE, enrolledAt: Date.now() }
  const roster = JSON.stringify(enrol(host.vendor.roster.get(), member))
  const { key, secret } = host.keys.nostr
  const template = {
    kind: ROSTER,
    created_at: Math.floor(Date.now() / 1000) + 60,
    tags: [['d', vendorId()]],
    content: encryptTo(secret, key, roster),
  }
  const pool = createPool([host.config.nostrUrl])
  await pool.publish(signEvent(template, secret, random(32)))
  pool.close()
  await until('the vendor to know', 45_000, () =>
    isEnrolled(host.vendor.roster.get(), device.key) ? true : undefined,
  )
  await host.vendor.wrapAgain(release.path)
  await stage().healthy(release)
})
