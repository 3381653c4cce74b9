/** A seller of wrong bytes, proven by a device while the vendor looks on. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { decode, encode, type BDict } from '../../web/core/exchange/bencode.ts'
import { liveCell } from '../../web/core/live.ts'
import { msat, priceOf } from '../../web/core/money/msat.ts'
import { publicKey, type SecretKey } from '../../web/core/nostr/event.ts'
import { readMetainfo } from '../../web/core/swarm/metainfo.ts'
import { fetchTorrent } from '../../web/edge/release/mirror.ts'
import { memoryJournal, memoryStore } from '../../web/edge/swarm/memory.ts'
import { createSwarm, trading } from '../../web/edge/swarm/swarm.ts'
import { generateSecrets, serializeSecrets } from '../../web/edge/vendor/keys-file.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { hostileSeller, type Ground } from '../peers/hostile-seller.ts'
import { LOOKS, violations } from '../support/axe.ts'
import { openHouse } from '../support/house.ts'
import { openBrowser } from '../support/tabs.ts'
import { openVendor, random } from '../support/vendor-host.ts'
import { HARDWARE, PRICE, testDir } from '../support/world.ts'

const PASSPHRASE = 'four random words here'
const BYTES = 24_000_000

test('a seller of wrong bytes is barred on the release’s page, with what was paid for them; the device is healthy all the same', async () => {
  const dir = testDir()
  const house = await openHouse({ dir, port: 0, grantSats: 1_000_000, accounts: 10 })
  onTestFinished(() => house.stop())
  const secrets = generateSecrets(random)
  const host = await openVendor({
    ...{ relayUrl: house.relay.url, admission: house.relay.admission ?? '', name: 'Acme', secrets },
    ...{ dataDir: path.join(dir, 'vendor'), price: PRICE, gifts: 0, log: () => undefined },
  })
  onTestFinished(() => host.close())
  const fundMsat = msat(1_000_000)
  // It is still buying when it meets the cheat: the line is slow, the file larger than what it asks for ahead.
  const edit = (toml: string): string => toml.replace('download_limit = 0', 'download_limit = "1M"')
  const grant = { vendor: host.vendor, vendorWallet: host.wallet, hardware: HARDWARE, fundMsat, edit }
  const device = await house.device('shed', grant)
  const content = randomBytes(BYTES)
  const file = path.join(dir, 'firmware.img')
  fs.writeFileSync(file, content)
  const form = { product: 'firmware', version: '1.0.0', hardware: [HARDWARE], priceCapMsat: PRICE }
  const { release } = await host.ship(file, form)
  const status = host.vendor.status.get()
  if (status.tag !== 'ready') throw new Error('The vendor was not admitted.')
  const { vendor } = status

  const backup = path.join(dir, 'backup.json')
  fs.writeFileSync(backup, await serializeSecrets(secrets, PASSPHRASE))
  const { page } = await openBrowser('vendor', dir)
  await page.goto(`${house.relay.url}/keys`)
  await page.getByLabel('Backup file').setInputFiles(backup)
  await page.getByLabel('Passphrase').fill(PASSPHRASE)
  await page.getByRole('button', { name: 'Restore keys' }).click()
  await page.getByRole('row', { name: /Acme\s\(you\)/ }).waitFor()
  await page.goto(
    `${house.relay.url}/vendor/release/${release.path.split('/').map(encodeURIComponent).join('/')}`,
  )
  await page.getByText('No device has paid yet').waitFor()

  const { trackerUrl, iceServers, money } = host.config
  const fetched = await fetchTorrent([house.relay.url], vendor, release.infoHash, fetch)
  if (fetched.tag !== 'ok') throw new Error(fetched.text)
  // bittorrent-tracker pools sockets by URL, and the vendor is in this process too: the cheat has a URL of its own.
  const { info } = decode(fetched.bytes) as { info: BDict }
  const meta = { ...readMetainfo(fetched.bytes, release), torrent: encode({ info }) }
  const ground: Ground = {
    nowMs: Date.now,
    moneyName: money,
    async member() {
      const secret = random(32) as SecretKey
      const identity = { secret, key: publicKey(secret) }
      const trackers = [`${trackerUrl}?cheat`]
      const swarm = await createSwarm({ identity, role: 'distributor', iceServers, trackers })
      onTestFinished(() => swarm.close())
      const store = memoryStore(meta, content)
      const session = trading(await swarm.join(meta, store, { vendor, floor: () => undefined }))
      const wallet = await connectNwc(await house.openTill('cheat'))
      onTestFinished(() => wallet.close())
      const none = { journal: memoryJournal(), drops: liveCell<readonly string[]>([]) }
      return { identity, session, store, wallet, ...none, leave: () => swarm.close() }
    },
  }
  const price = msat(PRICE / 2)
  const cheat = await hostileSeller(ground, { price, plain: (bytes) => void (bytes[0]! ^= 1) })
  device.program = device.start()

  const name = `seed-${cheat.identity.key.slice(0, 4)}`
  const barred = page.getByText(`${name} is barred.`)
  await barred.waitFor({ timeout: 120_000 })
  const sats = priceOf(release.pieceLength, price) / 1000
  expect(await barred.locator('..').innerText()).toContain(
    `sold shed wrong bytes in piece ${(cheat.deals[0]?.signed.quote.pieces[0] ?? 0) + 1} for ${sats.toFixed(3)} play sats`,
  )
  const all = page.locator('dl').first().getByText('1 of 1')
  await all.waitFor({ timeout: 120_000 })
  expect(await violations(page, LOOKS, 'cheat')).toEqual([])
}, 400_000)
