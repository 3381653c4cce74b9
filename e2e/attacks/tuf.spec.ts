/** TUF's list of attacks (specification 1.0, section 1.5.2), and each role's key in a thief's hands. */
import { expect, test } from 'vitest'
import { buildRoot } from '../../web/core/release/repository.ts'
import { signWith } from '../../web/core/release/test-repository.ts'
import { evilEntry, forge, ownKeys, type Keys, type Versions } from './forge.ts'
import { firstVendor, recover, republish, type Vendor } from './recovery.ts'
import { stageOfFile } from './stage.ts'

const stage = stageOfFile()
let vendor: Vendor | undefined
const vendorNow = (): Vendor => (vendor ??= firstVendor(stage()))

const after = ({ targets, snapshot, timestamp }: Versions, by = 1): Versions => ({
  targets: targets + by,
  snapshot: snapshot + by,
  timestamp: timestamp + by,
})

/** Metadata that names a release which the vendor never made; signed with the attacker's keys but for `stolen`. */
async function evil(stolen: Partial<Keys>) {
  const { versions, entries, vendor: block } = await stage().state()
  return forge({
    keys: { ...ownKeys, ...stolen },
    versions: after(versions),
    entries: [...entries, evilEntry(entries[0]!)],
    vendor: block,
    nowMs: Date.now(),
  })
}

test('arbitrary installation: a release that nobody signed is refused', async () => {
  const { files } = await evil({})
  const row = await stage().refuses('arbitrary-software', files)
  expect(row.text).toMatch(/timestamp metadata has 0 of the 1 signatures/)
})

test('endless data: a file without end is cut off at its limit', async () => {
  await stage().refuses('endless-data', {
    '/timestamp.json': (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(16_384)));
        if (!response.destroyed) response.once('drain', more)
      }
      more()
    },
  })
  // The device has read one limit; the rest is what fits between two sockets.
  expect(stage().front.sentBytes()).toBeLessThan(16 * 1024 * 1024)
})

test('mix-and-match, and extraneous dependencies: files that the signed list does not name are refused', async () => {
  const { versions } = await stage().state()
  const snapshot = await stage().file(`${versions.snapshot}.snapshot.json`)
  const { targets: more } = await evil(stage().keys)
  // The vendor publishes; of the new files the attacker shows one that is not of this set.
  await stage().refuses('mix-and-match', { [`/${versions.snapshot + 1}.snapshot.json`]: snapshot }, () =>
    stage().ship('1.1.0'),
  )
  // A target of the attacker's beside the vendor's, under the vendor's own signature for other targets.
  const row = await stage().refuses('mix-and-match', { [`/${versions.targets + 1}.targets.json`]: more })
  expect(row.text).toMatch(/targets metadata/)
})

test('wrong software: another artifact’s list of pieces is refused, the right one is taken', async () => {
  const other = await fetch(`${stage().front.url}${torrentOf(stage().first.infoHash)}`)
  const bytes = new Uint8Array(await other.arrayBuffer())
  const release = stage()
    .host.vendor.releases.get()
    .find((one) => one.release.version === '1.1.0')?.release
  if (release === undefined) throw new Error('1.1.0 is not out')
  const { jobs: _jobs, ...before } = await stage().standing()
  const since = stage().logLength()
  stage().front.serve({ [`/${release.infoHash}.torrent`]: bytes })
  stage().look()
  await stage().named('wrong-pieces', since)
  const { jobs: _now, ...then } = await stage().standing()
  expect(then).toEqual(before)
  stage().front.clear()
  await stage().healthy(release)
})
const torrentOf = (infoHash: string): string => {
  const status = stage().host.vendor.status.get()
  return `/v/${status.tag === 'ready' ? status.vendor : ''}/torrents/${infoHash}.torrent`
}

test('indefinite freeze: a mirror that holds back what the vendor announced is named, expired metadata too', async () => {
  const { versions, entries, vendor: block } = await stage().state()
  const timestamp = await stage().file('timestamp.json')
  let newer: Awaited<ReturnType<ReturnType<typeof stage>['ship']>> | undefined
  const row = await stage().refuses('freeze', { '/timestamp.json': timestamp }, async () => {
    newer = await stage().ship('1.2.0')
  })
  expect(row.text).toMatch(/vendor has announced/)
  stage().look()
  await stage().healthy(newer!)
  const { files } = forge({
    keys: stage().keys,
    versions: after(versions, 2),
    entries,
    vendor: block,
    nowMs: Date.now(),
    targets: await stage().file(`${versions.targets + 1}.targets.json`),
    timestampMs: Date.now() - 2 * 86_400_000,
  })
  const { text } = await stage().refuses('freeze', { '/timestamp.json': files['/timestamp.json']! })
  expect(text).toMatch(/timestamp metadata expired/)
})

test('rollback: an older timestamp is refused', async () => {
  const old = await stage().file('timestamp.json')
  const newer = await stage().ship('1.3.0')
  stage().look()
  await stage().healthy(newer)
  await stage().refuses('rollback', { '/timestamp.json': old })
})

test('the timestamp key stolen, or the snapshot key: nothing installs, and a root with other keys undoes it', async () => {
  const { snapshot, timestamp } = vendorNow().keys
  const alone = await stage().refuses('arbitrary-software', (await evil({ snapshot })).files)
  expect(alone.text).toMatch(/timestamp metadata has 0 of the 1/)
  const row = await stage().refuses('arbitrary-software', (await evil({ timestamp })).files)
  expect(row.text).toMatch(/snapshot metadata has 0 of the 1/)
  vendor = await recover(stage(), vendorNow())
})

test('the relay’s keys stolen: neither a release of the thief’s nor an older state of the vendor’s is taken', async () => {
  const { snapshot, timestamp } = vendorNow().keys
  const row = await stage().refuses('arbitrary-software', (await evil({ snapshot, timestamp })).files)
  expect(row.text).toMatch(/targets metadata has 0 of the 1/)
  const { versions, entries, vendor: block } = await stage().state()
  const older = forge({
    keys: vendorNow().keys,
    versions: { ...after(versions, 20), targets: versions.targets - 1 },
    entries: entries.slice(1),
    vendor: block,
    nowMs: Date.now(),
  })
  const { text } = await stage().refuses('rollback', older.files)
  expect(text).toMatch(/lists targets\.json \d+, older than \d+/)
  vendor = await recover(stage(), vendorNow(), ['targets'])
})

test('fast-forward: versions without end stop the honest relay until the root names other keys', async () => {
  const { versions, entries, vendor: block } = await stage().state()
  const far = forge({
    keys: vendorNow().keys,
    versions: { targets: versions.targets, snapshot: 2_000_000_000, timestamp: 2_000_000_000 },
    entries,
    vendor: block,
    nowMs: Date.now(),
    targets: await stage().file(`${versions.targets}.targets.json`),
  })
  const before = await stage().standing()
  stage().front.serve(far.files)
  stage().look()
  await stage().seenByDevice('timestamp.json', far.timestamp)
  stage().front.clear()
  // What the honest relay shows is older now, and said to be.
  await stage().refuses('rollback', {})
  vendor = await recover(stage(), vendorNow(), ['root'])
  expect(await stage().standing()).toEqual(before)
})

test('one of two targets keys stolen, and the relay’s too: below the threshold nothing installs', async () => {
  const { targets, snapshot, timestamp } = vendorNow().keys
  const row = await stage().refuses(
    'arbitrary-software',
    (await evil({ targets, snapshot, timestamp })).files,
  )
  expect(row.text).toMatch(/targets metadata has 1 of the 2/)
  vendor = await recover(stage(), vendorNow())
})

test('one of two root keys stolen: the device takes no other root', async () => {
  const { keys, rootVersion } = vendorNow()
  const root = signWith(
    buildRoot({
      version: rootVersion + 1,
      nowMs: Date.now(),
      keys: {
        root: [ownKeys.root.public],
        targets: [ownKeys.targets.public],
        snapshot: [ownKeys.snapshot.public],
        timestamp: [ownKeys.timestamp.public],
      },
    }),
    keys.root,
    ownKeys.root,
  )
  const { files } = await evil({})
  const row = await stage().refuses('arbitrary-software', {
    ...files,
    [`/${rootVersion + 1}.root.json`]: root,
  })
  expect(row.text).toMatch(/root metadata has 1 of the 2/)
})

test('after all of it the vendor’s next release installs', async () => {
  const release = await stage().ship('2.0.0')
  await republish(stage(), vendorNow())
  await stage().healthy(release)
})
