import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { fromHex, toHex, utf8, type Sha256Hex } from '../../web/core/bytes.ts'
import { msat, priceOf } from '../../web/core/money/msat.ts'
import * as kinds from '../../web/core/nostr/kinds.ts'
import type { BuyPolicy } from '../../web/edge/swarm/api.ts'
import { decodePaid, encodeJson } from '../../web/edge/swarm/records.ts'
import { openJournal } from '../storage/journal.ts'
import { fakeShop } from './fake-trade.ts'
import type { Ports } from './ports.ts'
import { readReceiptsFile, rootOfReceipts } from './receipts.ts'
import { readRecord } from './record.ts'
import { artifactOf, metaOf, PIECE, sha } from './test-artifact.ts'
import { allTold, openTestDevice, seen, state, type TestDevice } from './test-device.ts'

let at: TestDevice
beforeEach(async () => {
  at = await openTestDevice()
})
afterEach(() => at.close())

describe('device run', () => {
  test('learns of a release, buys it, installs it, and reports once with receipts that check', async () => {
    at.world.release('1.0')
    const device = await at.start(await at.configOf())
    const record = await allTold(device)
    expect(await at.installed()).toBe(sha(artifactOf('1.0')))
    expect(record.installed['pump']?.version).toBe('1.0')
    const reports = at.world.reports()
    expect(reports).toHaveLength(1)
    expect(reports[0]).toMatchObject({ outcome: 'healthy', paidMsat: 5, receipts: 5 })
    const file = await readReceiptsFile(
      join(at.dir, 'data', 'receipts', (await readdir(join(at.dir, 'data', 'receipts')))[0]!),
    )
    expect(rootOfReceipts(file!.receipts)).toBe(reports[0]?.receiptsRoot)
    const { sha256, key } = reports[0]!.blob!
    const blob = at.world.blobs.get(sha256)!
    const aes = await crypto.subtle.importKey('raw', fromHex(key), 'AES-GCM', false, ['decrypt'])
    const plain = await crypto.subtle.decrypt({ name: 'AES-GCM', iv: blob.slice(0, 12) }, aes, blob.slice(12))
    expect((JSON.parse(new TextDecoder().decode(plain)) as { receipts: unknown[] }).receipts).toHaveLength(5)
    const attestation = at.world.published.find((event) => event.kind === kinds.ATTESTATION)!
    expect(attestation.tags).toContainEqual(['l', 'healthy', 'satpatch'])
    await vi.waitFor(
      () =>
        expect(at.world.progress().at(-1)).toMatchObject({ state: 'healthy', installed: { pump: '1.0' } }),
      5000,
    )
    const seqs = at.world.progress().map(({ seq }) => seq)
    expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b))
  })

  test('stopped anywhere and started again it finishes, buys nothing twice and reports once', async () => {
    at.world.release('1.0')
    const config = await at.configOf()
    for (let pieces = 1; pieces <= 4; pieces++) {
      at.world.selling = 1
      const device = await at.start(config)
      await seen(device, (now) => now.download?.have === pieces && now.state === 'queued')
      await device.stop()
    }
    at.world.selling = Number.POSITIVE_INFINITY
    await allTold(await at.start(config))
    expect(new Set(at.world.bought).size).toBe(5)
    expect(at.world.bought).toHaveLength(5)
    expect(at.world.reports()).toHaveLength(1)
    expect(at.world.reports()[0]?.writeFactor).toBeLessThan(2.1)
    // Once more: nothing is left to do.
    await at.devices.at(-1)?.stop()
    const again = await at.start(config)
    await state(again, 'healthy')
    expect(at.world.bought).toHaveLength(5)
    expect(at.world.reports()).toHaveLength(1)
  })

  test('a newer release follows an announcement; an older one, or another vendor’s word, moves nothing', async () => {
    at.world.release('1.0')
    const device = await at.start(await at.configOf())
    await allTold(device)
    at.world.release('1.0', '2.0')
    at.world.announce('2.0', 2)
    await seen(device.record, ({ installed: now }) => now['pump']?.version === '2.0')
    expect(await at.installed()).toBe(sha(artifactOf('2.0')))
    at.world.release('1.5', '2.0')
    at.world.announce('1.5', 3)
    await seen(device.record, ({ notice }) => notice !== null && notice.includes('not newer than 2.0'))
  })

  test('a sick version is rolled back, reported as such and not tried again', async () => {
    at.world.release('1.0')
    await writeFile(
      join(at.dir, 'judge.sh'),
      '#!/bin/sh\ntest "$SATPATCH_VERSION" != 2.0 || { echo no pulse; exit 1; }\n',
      { mode: 0o755 },
    )
    const judge = `health_command = "sh ${at.dir}/judge.sh"`
    const device = await at.start(await at.configOf((toml) => toml.replace('health_command = ""', judge)))
    await allTold(device)
    at.world.release('1.0', '2.0')
    at.world.announce('2.0', 2)
    await state(device, 'rolled back')
    await seen(at.world.changed, () => at.world.reports().length === 2)
    expect(at.world.reports()[1]).toMatchObject({
      outcome: 'rolled back',
      reason: 'the health command exited with code 1: no pulse',
    })
    expect(await at.installed()).toBe(sha(artifactOf('1.0')))
    at.world.announce('2.0', 3)
    expect(device.record.get().jobs).toHaveLength(2)
  })

  test('a report waits for a relay, and goes without receipts when no mirror takes them', async () => {
    at.world.release('1.0')
    at.world.takesBlobs = false
    at.world.poolStatus.set([{ url: 'ws://relay.test/nostr', connected: false }])
    const device = await at.start(await at.configOf())
    await state(device, 'healthy')
    expect(at.world.reports()).toEqual([])
    at.world.poolStatus.set([{ url: 'ws://relay.test/nostr', connected: true }])
    await allTold(device)
    expect(at.world.reports()).toHaveLength(1)
    expect(at.world.reports()[0]?.blob).toBeUndefined()
  })

  test('stopped while the relay does not answer it waits for no time limit of a message', async () => {
    at.world.release('1.0')
    at.world.relayAnswers = false
    const device = await at.start(await at.configOf())
    await state(device, 'healthy')
    await device.stop()
    at.world.relayAnswers = true
    await allTold(await at.start(await at.configOf()))
    expect(at.world.reports()).toHaveLength(1)
  })

  test('after a restart it resells what is installed, and tells what it earned; what was changed it does not sell', async () => {
    at.world.release('1.0')
    const config = await at.configOf((toml) => toml.replace('# resell_msat', 'resell_msat'))
    const shops: ReturnType<typeof fakeShop>[] = []
    const ports: Partial<Ports> = {
      createShop(deps) {
        const shop = fakeShop(deps)
        shops.push(shop)
        at.world.changed.set(at.world.changed.get() + 1)
        return shop
      },
    }
    await allTold(await at.start(config, ports))
    expect(at.world.reports()).toHaveLength(1)
    await at.devices.at(-1)?.stop()
    expect(shops).toMatchObject([{ stopped: true }])

    await at.start(config, ports)
    await seen(at.world.changed, () => shops.length === 2)
    const [, shop] = shops
    if (shop === undefined) throw new Error('no shop')
    const { store, meta } = shop.deps.session
    expect(sha(await store.read(0, meta.length))).toBe(sha(artifactOf('1.0')))
    expect(shop.deps.policy).toMatchObject({ price: 1000, gifts: { to: 'nobody' } })
    shop.sell({ earned: msat(12), soldPieces: 3, uploadedBytes: 3 * PIECE })
    const resold = { earnedMsat: 12, pieces: 3, bytes: 3 * PIECE }
    await vi.waitFor(() => expect(at.world.progress().at(-1)?.release?.resold).toEqual(resold), 5000)
    await at.devices.at(-1)?.stop()

    const file = join(at.dir, 'data', 'products', 'pump', 'current', 'pump ü.bin')
    await writeFile(file, (await readFile(file)).fill(0, PIECE, PIECE + 1))
    const again = await at.start(config, ports)
    // Opened, for its download is seen, and nothing is sold.
    await seen(again, ({ download }) => download?.state.tag === 'complete')
    expect(shops).toHaveLength(2)
  })

  test('a payment that settles after a restart, when all was over, is told by an addendum', async () => {
    at.world.release('1.0')
    const config = await at.configOf()
    await allTold(await at.start(config))
    await at.devices.at(-1)?.stop()
    const { infoHash } = metaOf(artifactOf('1.0'))
    const journal = await openJournal(join(at.dir, 'data', 'journal'))
    const [first] = await journal.keys(`receipt/${infoHash}/`)
    const paid = decodePaid(await journal.get(first ?? ''))
    if (paid === undefined) throw new Error('no receipt')
    const lateKey = `receipt/${infoHash}/${'ee'.repeat(32)}`
    await journal.put(`buy/${infoHash}/${'ee'.repeat(32)}`, utf8('out since before'))

    // The download of the next run is told by its wallet that it has settled.
    const late = { receipt: { ...paid.receipt, quote: 'ee' }, row: { ...paid.row, late: true } }
    await at.start(config, {
      createDownload: (deps) => ({
        ...at.world.download(deps),
        onLate(run) {
          const settles = async (): Promise<void> => {
            await deps.journal.put(lateKey, encodeJson(late))
            await deps.journal.delete(`buy/${infoHash}/${'ee'.repeat(32)}`)
            run(late.receipt, late.row)
          }
          void settles()
          return () => undefined
        },
      }),
    })
    await vi.waitFor(() => expect(at.world.addenda()).toMatchObject([{ receipt: late.receipt }]), 5000)
  })

  test('a look at the mirror that throws is followed by another', async () => {
    at.world.release('1.0')
    let broken = false
    const nowMs = (): number => {
      if (!broken) return at.world.nowMs
      broken = false
      throw new Error('no clock')
    }
    const device = await at.start(await at.configOf(), { nowMs })
    await allTold(device)
    at.world.release('1.0', '2.0')
    broken = true
    at.world.announce('2.0', 2)
    await seen(device.record, ({ installed: now }) => now['pump']?.version === '2.0')
    expect(broken).toBe(false)
  })

  test('a swarm that could not be opened is opened by the next try; stopping meanwhile lets the directory go', async () => {
    at.world.release('1.0')
    const config = await at.configOf()
    let tries = 0
    const broken = await at.start(config, {
      createSwarm: () => {
        tries++
        return Promise.reject(new Error('no sockets left'))
      },
    })
    await seen(broken, ({ reason }) => reason?.includes('no sockets left') === true)
    await broken.stop()
    const before = tries
    const device = await at.start(config, {
      createSwarm: () => (tries++ === before ? Promise.reject(new Error('not yet')) : at.world.swarm()),
    })
    await state(device, 'healthy')
    expect(tries).toBe(before + 2)
  })

  test.each([
    ['', undefined],
    ['risk_sats_unproven = 0', 1],
    ['risk_sats_unproven = 7', 7000],
  ])('new sellers may hold what the core says, or what the owner says (%j)', async (line, pieces) => {
    at.world.release('1.0')
    let policy: BuyPolicy | undefined
    const config = await at.configOf((toml) => toml.replace('# risk_sats_unproven = 100', line))
    const device = await at.start(config, {
      createDownload: (deps) => {
        policy = deps.policy
        return at.world.download(deps)
      },
    })
    await state(device, 'healthy')
    const piece = priceOf(PIECE, device.get().release!.priceCapMsat)
    expect(policy?.unprovenBudget).toBe(pieces === 1 ? piece : pieces)
  })

  test('a device is bound to one vendor, and runs once', async () => {
    const config = await at.configOf()
    const device = await at.start(config)
    await expect(at.start(config)).rejects.toThrow('Another process already runs')
    await device.stop()
    await expect(
      at.start({ ...config, vendor: toHex(new Uint8Array(32).fill(1)) as Sha256Hex }),
    ).rejects.toThrow('This device is bound to the vendor')
    expect((await readRecord(config.dataDir))?.vendor).toBe(at.world.repository.vendor)
  })
})
