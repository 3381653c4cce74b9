/**
 * BitTorrent's piece hash is SHA-1, and SHA-1 is broken: the public collision of 2017 makes two first pieces with one
 * hash. A seeder gives the other one, free and fast; a client that believes BitTorrent takes it.
 */
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readMetainfo } from '../../web/core/swarm/metainfo.ts'
import { fetchTorrent } from '../../web/edge/release/mirror.ts'
import { rawPeer } from '../peers/raw-peer.ts'
import { HARDWARE, PRICE } from '../support/world.ts'
import { stageOfFile } from './stage.ts'

const stage = stageOfFile()
const closing: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const close of closing.reverse()) await close()
})
const half = (n: 1 | 2): Buffer =>
  fs.readFileSync(path.join(import.meta.dirname, 'data', `sha1-collision-${n}.bin`))
const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')

test('a piece that collides in SHA-1 is refused by its SHA-256, its seeder is dropped, and the release installs', async () => {
  const { device, host, house, dir } = stage()
  await device.program?.stop()
  const rest = randomBytes(80_000)
  const good = Buffer.concat([half(1), rest])
  const evil = Buffer.concat([half(2), rest])
  expect(good.equals(evil)).toBe(false)
  expect(sha1(good)).toBe(sha1(evil))

  const file = path.join(dir, 'collides.bin')
  fs.writeFileSync(file, good)
  const form = { product: 'firmware', version: '1.1.0', hardware: [HARDWARE], priceCapMsat: PRICE }
  const { release, seed } = await host.ship(file, form)
  await seed.stop() // nobody else has it
  const status = host.vendor.status.get()
  if (status.tag !== 'ready') throw new Error('The vendor is gone.')
  const fetched = await fetchTorrent([house.relay.url], status.vendor, release.infoHash, fetch)
  if (fetched.tag !== 'ok') throw new Error(fetched.text)
  const meta = readMetainfo(fetched.bytes, release)
  const firstOf = (bytes: Buffer): string => sha1(bytes.subarray(0, meta.pieceLength))
  expect(firstOf(good)).toBe(firstOf(evil))

  let parties = 0
  const swarm = {
    meta,
    trackerOf: () => `${house.relay.url.replace('http', 'ws')}/tracker?party=${++parties}`,
    onClose: (run: () => Promise<unknown>) => void closing.push(run),
  }
  await rawPeer(swarm, { content: evil })
  const balance = await device.wallet.balance()
  const since = 0
  device.program = device.start()
  await stage().named('wrong-pieces', since)
  expect((await stage().standing()).bytes).not.toBe(evil.toString('base64'))

  await rawPeer(swarm, { content: good })
  await stage().healthy(release)
  expect((await stage().standing()).bytes).toBe(good.toString('base64'))
  expect(await device.wallet.balance()).toBe(balance)
}, 180_000)
