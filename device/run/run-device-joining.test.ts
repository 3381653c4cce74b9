import { readFile, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { fromHex } from '../../web/core/bytes.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import * as kinds from '../../web/core/nostr/kinds.ts'
import { unwrap, wrap } from '../../web/edge/nostr/nip59.ts'
import { parseConfig } from '../config/config.ts'
import { VENDOR_SECRET } from './fake-world.ts'
import { readJoinState, writeJoinState } from './join-state.ts'
import { readRecord } from './record.ts'
import { NOW } from './test-artifact.ts'
import { openTestDevice, RELAY, seen, state, type TestDevice } from './test-device.ts'
import { standing } from './view.ts'

let at: TestDevice
beforeEach(async () => {
  at = await openTestDevice()
})
afterEach(() => at.close())

describe('a device that joins a fleet', () => {
  /** A device without a wallet that asks its vendor to take it in. */
  async function asking() {
    const config = await at.configOf((toml) => toml.replace(/connection = ".*"/, 'connection = ""'))
    const { nostr } = at.world.vendorBlock
    await at.start(config).then((first) => first.stop())
    const joinState = { v: 1, secret: 'ab'.repeat(16), nostr, relay: RELAY, acceptedAt: null } as const
    await writeJoinState(config.dataDir, joinState)
    return { config, device: await at.start(config) }
  }

  test('a device that the vendor has not accepted waits and shows its code; the acceptance is written down', async () => {
    at.world.release('1.0')
    const { config, device } = await asking()
    await seen(device, ({ reason }) => /[0-9A-Z]{4}-[0-9A-Z]{4}/.test(reason ?? ''))
    const request = at.world.published
      .map((event) => unwrap(event, VENDOR_SECRET))
      .find((one) => one?.kind === kinds.JOIN_REQUEST)
    expect(JSON.parse(request!.content)).toMatchObject({ secret: 'ab'.repeat(16), name: 'pump-7' })
    expect(at.world.bought).toEqual([])
    const accept = {
      v: 1,
      vendor: config.vendor,
      name: 'pump-7',
      wallet: { walletPubkey: 'ef'.repeat(32), relays: ['ws://relay.test'] },
    }
    const template = { kind: kinds.JOIN_ACCEPT, created_at: 1, tags: [], content: JSON.stringify(accept) }
    at.world.say(wrap(template, new Uint8Array(32).fill(99), device.key)) // not the vendor
    at.world.say(wrap(template, VENDOR_SECRET, device.key))
    await state(device, 'healthy')
    const toml = await readFile(config.file, 'utf8')
    expect(parseConfig(toml, config.file).walletConnection).toContain('ef'.repeat(32))
    expect(toml.split('\n').length).toBe((await readFile(config.file, 'utf8')).split('\n').length)
  })

  test('accepted without an allowance it says so, and takes one up that is given later, over a restart too', async () => {
    at.world.release('1.0')
    const { config, device } = await asking()
    const answer = (more: object) => {
      const content = JSON.stringify({ v: 1, vendor: config.vendor, name: 'pump-7', ...more })
      return wrap({ kind: kinds.JOIN_ACCEPT, created_at: 1, tags: [], content }, VENDOR_SECRET, device.key)
    }
    at.world.say(answer({}))
    await seen(device, ({ reason }) => reason?.startsWith('no wallet') === true)
    const client = publicKey(fromHex(config.walletClient))
    const told = () => at.world.progress().at(-1)?.allowance
    await vi.waitFor(() => expect(told()).toEqual({ client, given: false }), 15_000)
    await device.stop()

    const again = await at.start(config)
    await seen(again, ({ reason }) => reason?.startsWith('no wallet') === true)
    expect(at.world.bought).toEqual([])
    at.world.say(answer({ wallet: { walletPubkey: 'ef'.repeat(32), relays: ['ws://relay.test'] } }))
    await state(again, 'healthy')
    await vi.waitFor(() => expect(told()).toEqual({ client, given: true }), 15_000)
    const toml = await readFile(config.file, 'utf8')
    expect(parseConfig(toml, config.file).walletConnection).toContain('ef'.repeat(32))
    expect((await readJoinState(config.dataDir))?.acceptedAt).toBe(NOW)
  })

  test('an acceptance that cannot be written down is tried again, and status says why', async () => {
    const { config, device } = await asking()
    const whole = await readFile(config.file, 'utf8')
    await writeFile(config.file, whole.replace('hardware = ', 'hardware '))
    const wallet = { walletPubkey: 'ef'.repeat(32), relays: ['ws://relay.test'] }
    const content = JSON.stringify({ v: 1, vendor: config.vendor, name: 'pump-7', wallet })
    at.world.say(
      wrap({ kind: kinds.JOIN_ACCEPT, created_at: 1, tags: [], content }, VENDOR_SECRET, device.key),
    )
    await seen(device, ({ reason }) => reason?.includes('accepted by the vendor, but') === true)
    await seen(device.record, ({ joinTrouble }) => joinTrouble?.includes('device.toml, line') === true)
    const kept = (await readRecord(config.dataDir))!
    expect(standing(kept, device.key, false).reason).toContain('device.toml, line')
    await writeFile(config.file, whole)
    await seen(device.record, (record) => record.joinTrouble === undefined)
    expect((await readJoinState(config.dataDir))?.acceptedAt).toBe(NOW)
    expect(parseConfig(await readFile(config.file, 'utf8'), config.file).walletConnection).toBeDefined()
  })
})
