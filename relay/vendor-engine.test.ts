/** The vendor engine against a real relay: what two tabs, a late viewer and a device see. */
import { expect, test } from 'vitest'
import { sha256Hex, toHex, type Bytes, type PartyKey, type Sha256Hex } from '../web/core/bytes.ts'
import { liveCell, type Live } from '../web/core/live.ts'
import { msat, type Money } from '../web/core/money/msat.ts'
import { publicKey, signEvent, tagValue, type SecretKey } from '../web/core/nostr/event.ts'
import {
  JOIN_ACCEPT,
  JOIN_REQUEST,
  PROGRESS,
  RELEASE,
  REPORT,
  REPORT_ADDENDUM,
} from '../web/core/nostr/kinds.ts'
import { receiptOf, signQuote } from '../web/core/exchange/quote.ts'
import type { Receipt } from '../web/core/exchange/receipt.ts'
import type { Release } from '../web/core/release/target.ts'
import { decodeJoinCode, deviceCode } from '../web/core/rollout/join.ts'
import type { Progress, Report } from '../web/core/rollout/messages.ts'
import { sealBlob } from '../web/core/rollout/report-blob.ts'
import { receiptsRoot } from '../web/core/rollout/report.ts'
import { verifyReceipt } from '../web/core/exchange/quote.ts'
import { encryptTo } from '../web/edge/nostr/nip44.ts'
import { unwrap, wrap } from '../web/edge/nostr/nip59.ts'
import { createPool, type Pool } from '../web/edge/nostr/pool.ts'
import { fetchRelayConfig } from '../web/edge/relay-config.ts'
import { putBlob } from '../web/edge/release/api.ts'
import { failureText, refresh } from '../web/edge/release/mirror.ts'
import { memoryStore, type TextStore } from '../web/edge/release/store.ts'
import { hashArtifact } from '../web/edge/swarm/hash-artifact.ts'
import type { NewRelease, ReleaseForm, Vendor, VendorKeys } from '../web/edge/vendor/api.ts'
import { generateSecrets, keysFromSecrets } from '../web/edge/vendor/keys-file.ts'
import { createPublicView } from '../web/edge/vendor/public-view.ts'
import { createVendor } from '../web/edge/vendor/vendor.ts'
import { WalletError, type Wallet } from '../web/edge/wallet/wallet.ts'
import { afterTest, relay } from './fixture.ts'

const random = (bytes: number): Bytes => crypto.getRandomValues(new Uint8Array(bytes))

function until<T>(live: Live<T>, right: (value: T) => boolean): Promise<T> {
  return new Promise((resolve) => {
    let done = false
    const end = live.subscribe((value) => {
      if (done || !right(value)) return
      done = true
      queueMicrotask(() => end()) // not before `subscribe` has returned
      resolve(value)
    })
  })
}

async function tab(
  url: string,
  keys: VendorKeys,
  store: TextStore = memoryStore(),
): Promise<{ vendor: Vendor; pool: Pool }> {
  const config = await fetchRelayConfig(url)
  const pool = createPool([config.nostrUrl])
  const vendor = createVendor({ keys, relayUrl: url, config, pool, store, nowMs: Date.now, random, fetch })
  afterTest(() => {
    vendor.close()
    pool.close()
  })
  await vendor.ready
  return { vendor, pool }
}

async function admitted() {
  const { url, admissionLink } = await relay()
  const keys = keysFromSecrets(generateSecrets(random))
  const store = memoryStore()
  const first = await tab(url, keys, store)
  expect(first.vendor.status.get().tag).toBe('not-admitted')
  const code = new URLSearchParams(new URL(admissionLink ?? '').hash.slice(1)).get('admit') ?? ''
  const id = await first.vendor.admit(code, 'Pumps Ltd')
  return { url, keys, store, id, code, ...first }
}

const form = (version: string, more: Partial<ReleaseForm> = {}): ReleaseForm => ({
  product: 'pump',
  version,
  fileName: 'pump größe.bin',
  hardware: ['rpi4'],
  priceCapMsat: msat(2000),
  ...more,
})

async function artifact(
  version: string,
  more: Partial<ReleaseForm> = {},
  bytes = random(40_000),
): Promise<NewRelease> {
  const source = { length: bytes.length, read: async (at: number, n: number) => bytes.slice(at, at + n) }
  return { ...(await hashArtifact(source, 'pump größe.bin', [])), form: form(version, more) }
}

test('a vendor is admitted once, publishes, and a client that knows only its id verifies the release', async () => {
  const { url, vendor, id, code } = await admitted()
  expect(vendor.status.get()).toMatchObject({
    tag: 'ready',
    vendor: id,
    name: 'Pumps Ltd',
    targetsVersion: 1,
  })
  const [release] = await vendor.publish([await artifact('1.0.0')])
  const seen = await refresh({ mirrors: [url], vendor: id, store: memoryStore(), nowMs: Date.now(), fetch })
  if (seen.tag !== 'ok') throw new Error(failureText(seen))
  expect(seen.verified.releases).toEqual([release])
  expect((await vendor.torrent(release!)).piecesRoot).toBe(release!.piecesRoot)
  expect(vendor.floor.get()).toContain(release!.sha256)
  const stranger = await tab(url, keysFromSecrets(generateSecrets(random)))
  await expect(stranger.vendor.admit(code, 'Thief')).rejects.toMatchObject({
    code: 'bad-code',
    field: 'code',
  })
})

test('a version that is not newer, an empty file and a bad name are refused before anything is signed', async () => {
  const { vendor } = await admitted()
  await vendor.publish([await artifact('1.0.0')])
  await expect(vendor.publish([await artifact('1.0.0')])).rejects.toMatchObject({
    code: 'not-newer',
    field: 'version',
  })
  await expect(vendor.publish([await artifact('0.9')])).rejects.toMatchObject({ code: 'not-newer' })
  await expect(vendor.publish([await artifact('2.0', { hardware: [' '] })])).rejects.toMatchObject({
    field: 'hardware',
  })
  await expect(vendor.publish([await artifact('2.0', { fileName: '../x' })])).rejects.toMatchObject({
    code: 'bad-file',
  })
  expect(vendor.check(form('2.0'), 0)).toMatchObject({ code: 'bad-file' })
  expect(vendor.check(form('2.0'), 1)).toBeUndefined()
  expect(vendor.status.get()).toMatchObject({ targetsVersion: 2 })
})

test('two tabs that publish at the same moment both get through, and a third that comes late sees all', async () => {
  const { url, keys, vendor } = await admitted()
  const second = await tab(url, keys)
  const [a, b] = [await artifact('1.0', { product: 'a' }), await artifact('1.0', { product: 'b' })]
  await Promise.all([vendor.publish([a]), second.vendor.publish([b])])
  for (const one of [vendor, second.vendor, (await tab(url, keys)).vendor]) {
    const all = await until(one.releases, (releases) => releases.length === 2)
    expect(all.map(({ release }) => release.product).sort()).toEqual(['a', 'b'])
  }
})

test('a withdrawn release is shown as such, also to who comes late, and its version is spent', async () => {
  const { url, keys, vendor } = await admitted()
  const [release] = await vendor.publish([await artifact('1.0')])
  await vendor.withdraw(release!.path)
  expect(vendor.releases.get()).toMatchObject([{ status: 'withdrawn', release: { path: release!.path } }])
  const late = await tab(url, keys)
  const all = await until(late.vendor.releases, (releases) => releases.length === 1)
  expect(all).toMatchObject([{ status: 'withdrawn', release: { sha256: release!.sha256 } }])
  await expect(late.vendor.publish([await artifact('1.0')])).rejects.toMatchObject({ code: 'not-newer' })
  await expect(vendor.withdraw(release!.path)).rejects.toMatchObject({ code: 'unknown-release' })
})

test('a tab that died between signing and announcing: the next one announces, live and withdrawn', async () => {
  const { url, keys, vendor, id } = await admitted()
  const config = await fetchRelayConfig(url)
  const [kept] = await vendor.publish([await artifact('1.0', { product: 'old' })])
  const mute = createPool([config.nostrUrl])
  afterTest(() => mute.close())
  const silent = { ...mute, publish: () => Promise.reject(new Error('died')) }
  const deps = { keys, relayUrl: url, config, store: memoryStore(), nowMs: Date.now, random, fetch }
  const dying = createVendor({ ...deps, pool: silent })
  await dying.ready
  await dying.publish([await artifact('1.0', { product: 'new' })])
  await dying.withdraw(kept!.path)
  dying.close()
  const said = liveCell<Record<string, string>>({})
  const pool = createPool([config.nostrUrl])
  afterTest(() => pool.close())
  pool.subscribe([{ kinds: [RELEASE], '#i': [id] }], (event) => {
    said.set({ ...said.get(), [tagValue(event, 'd') ?? '']: tagValue(event, 'status') ?? '' })
  })
  vendor.close()
  await tab(url, keys)
  await until(said, (now) => now['new@1.0'] === 'live' && now['old@1.0'] === 'withdrawn')
})

test('the public view shows verified releases without keys', async () => {
  const { url, id, vendor, pool } = await admitted()
  const view = createPublicView({
    relayUrl: url,
    pool,
    store: memoryStore(),
    nowMs: Date.now,
    fetch,
    vendor: id,
  })
  afterTest(() => view.close())
  await until(view.name, (name) => name === 'Pumps Ltd')
  await vendor.publish([await artifact('1.0')])
  const [seen] = await until(view.releases, (releases) => releases.length === 1)
  expect(seen).toMatchObject({ healthy: 0, release: { version: '1.0' } })
})

/** What a device says, as the shell will say it. */
function device(vendorKey: PartyKey, id: string, pool: Pool) {
  const secret = random(32) as SecretKey
  const key = publicKey(secret)
  const nowS = () => Math.floor(Date.now() / 1000)
  const say = (kind: number, content: object, laterS = 0) =>
    pool.publish(
      wrap(
        { kind, created_at: nowS() + laterS, tags: [], content: JSON.stringify(content) },
        secret,
        vendorKey,
      ),
    )
  return {
    key,
    secret,
    say,
    progress: (progress: Progress) =>
      pool.publish(
        signEvent(
          {
            kind: PROGRESS,
            created_at: nowS() + progress.seq,
            tags: [
              ['d', id],
              ['p', vendorKey],
            ],
            content: encryptTo(secret, vendorKey, JSON.stringify(progress)),
          },
          secret,
          random(32),
        ),
      ),
  }
}

const baseProgress: Progress = {
  v: 1,
  name: 'shed',
  hardware: 'rpi4',
  seq: 1,
  at: Date.now(),
  state: 'queued',
}

function fakeWallet(cut: string[]): Wallet {
  return {
    createConnection: async ({ client }: { client: string }) => {
      cut.push(client)
      return { walletPubkey: 'ab'.repeat(32), relays: ['ws://x'] }
    },
    pay: async () => ({ tag: 'paid', preimage: '00'.repeat(32), fees: msat(0) }),
  } as unknown as Wallet
}

test('a device joins with a code, is funded, and enrolled in every tab', async () => {
  const { url, keys, id, vendor, pool } = await admitted()
  const other = await tab(url, keys)
  const read = decodeJoinCode(await vendor.makeJoinCode())
  if (read.tag !== 'ok') throw new Error(read.message)
  expect(read.code).toMatchObject({ vendor: id, nostr: keys.nostr.key, relay: url })
  const shed = device(keys.nostr.key, id, pool)
  const walletClient = publicKey(random(32) as SecretKey)
  const request = { v: 1, name: 'shed', hardware: 'rpi4', walletClient }
  await shed.say(JOIN_REQUEST, { ...request, secret: read.code.secret })
  const uninvited = device(keys.nostr.key, id, pool)
  await uninvited.say(JOIN_REQUEST, { ...request, secret: '00'.repeat(16) })
  // The other tab never made a code, and knows the invited one all the same.
  const pending = await until(other.vendor.joinRequests, (requests) => requests.length === 2)
  const mine = pending.find((one) => one.device === shed.key)!
  expect(mine).toMatchObject({ invited: true, code: deviceCode(shed.key) })
  expect(pending.find((one) => one.device === uninvited.key)).toMatchObject({ invited: false })

  const answer = new Promise<unknown>((resolve) => {
    pool.subscribe([{ kinds: [1059], '#p': [shed.key] }], (event) => {
      const rumour = unwrap(event, shed.secret)
      if (rumour?.kind === JOIN_ACCEPT && rumour.pubkey === keys.nostr.key)
        resolve(JSON.parse(rumour.content))
    })
  })
  const cut: string[] = []
  await other.vendor.accept(mine.id, { name: 'Shed', fundMsat: msat(500_000), wallet: fakeWallet(cut) })
  expect(cut).toEqual([walletClient])
  expect(await answer).toMatchObject({ vendor: id, name: 'Shed', wallet: { walletPubkey: 'ab'.repeat(32) } })
  await until(vendor.roster, (roster) => roster.devices.some((one) => one.key === shed.key))
  await until(vendor.joinRequests, (requests) => requests.length === 1)
  await vendor.decline(vendor.joinRequests.get()[0]!.id)
  expect(vendor.joinRequests.get()).toEqual([])

  await shed.progress({ ...baseProgress, needMsat: msat(5000), fundInvoice: 'lnbcrt1x' })
  await until(vendor.fleet, (fleet) => fleet.devices[0]?.fundInvoice === 'lnbcrt1x')
  expect(await vendor.fund(shed.key, fakeWallet([]))).toMatchObject({ tag: 'paid' })
  await vendor.describe(shed.key, { name: ' Hall ', group: 'north' })
  const [hall] = (await until(other.vendor.fleet, (fleet) => fleet.devices[0]?.group === 'north')).devices
  expect(hall).toMatchObject({ name: 'Hall', enrolled: true })
  await expect(vendor.describe(shed.key, { name: ' ', group: '' })).rejects.toMatchObject({
    code: 'bad-form',
  })
  await vendor.revoke(shed.key)
  await until(other.vendor.fleet, (fleet) => fleet.devices.length === 0 && fleet.unenrolled.length === 1)
  await expect(vendor.fund(shed.key, fakeWallet([]))).rejects.toMatchObject({ code: 'refused' })
})

test('accepted with another amount after a lost answer, a device gets the allowance that exists', async () => {
  const { keys, id, vendor, pool } = await admitted()
  const shed = device(keys.nostr.key, id, pool)
  const walletClient = publicKey(random(32) as SecretKey)
  await shed.say(JOIN_REQUEST, {
    v: 1,
    name: 'shed',
    hardware: 'rpi4',
    walletClient,
    secret: '00'.repeat(16),
  })
  const [request] = await until(vendor.joinRequests, (requests) => requests.length === 1)
  // As the relay's wallet does: one connection a key, the same words give the same answer. The first is lost.
  const made: string[] = []
  let lost = false
  const wallet = {
    createConnection: async ({ name, limit }: { name: string; limit: number }) => {
      const words = `${name} ${limit}`
      if (made.length > 0 && made[0] !== words)
        throw new WalletError('other', 'This client key has a connection already.')
      made[0] = words
      if (!lost) {
        lost = true
        throw new WalletError('unreachable', 'The wallet does not answer.')
      }
      return { walletPubkey: 'ab'.repeat(32), relays: ['ws://x'] }
    },
  } as unknown as Wallet
  const grant = { name: 'Shed', wallet }
  await expect(vendor.accept(request!.id, { ...grant, fundMsat: msat(5000) })).rejects.toMatchObject({
    code: 'wallet',
  })
  expect(vendor.roster.get().devices).toEqual([])
  await vendor.accept(request!.id, { ...grant, fundMsat: msat(7000) })
  expect(made).toEqual(['Shed 5000'])
  expect(vendor.roster.get().devices).toMatchObject([{ key: shed.key, name: 'Shed' }])
})

function receipt(
  release: Release,
  buyer: PartyKey,
  seller: SecretKey,
  amount: number,
  pieces: number[],
): Receipt {
  const preimage = random(32)
  const quote = {
    id: sha256Hex(random(8)),
    buyer,
    seller: publicKey(seller),
    root: release.piecesRoot,
    shape: { length: release.bytes, pieceLength: release.pieceLength },
    pieces,
    cipherRoot: sha256Hex(random(8)),
    paymentHash: sha256Hex(preimage),
    amount: msat(amount),
    money: 'sandbox:x' as Money,
    expiry: 2_000_000_000,
    invoice: 'lnbcrt',
  }
  return receiptOf(signQuote(quote, seller, random(32)), toHex(preimage))
}

async function reportOf(
  url: string,
  id: Sha256Hex,
  release: Release,
  secret: SecretKey,
  receipts: Receipt[],
  seller: PartyKey,
  paid: number,
): Promise<Report> {
  const key = random(32)
  const sha256 = await putBlob(
    fetch,
    url,
    id,
    sealBlob({ receipts: [...receipts], windows: [] }, key, random(12)),
    secret,
    Date.now(),
  )
  const hashes = receipts.map((one) => {
    const check = verifyReceipt(one)
    if (!check.ok) throw new Error(check.why)
    return check.hash
  })
  const at = Date.now()
  return {
    v: 1,
    vendor: id,
    path: release.path,
    sha256: release.sha256,
    piecesRoot: release.piecesRoot,
    targetsVersion: release.targetsVersion,
    outcome: 'healthy',
    announcedAt: at,
    startedAt: at,
    verifiedAt: at,
    finishedAt: at,
    paidMsat: msat(paid),
    feesMsat: msat(0),
    sellers: [{ seller, pieces: 1, bytes: 40_000, paidMsat: msat(paid), feesMsat: msat(0), rateBps: 0 }],
    receipts: receipts.length,
    receiptsRoot: receiptsRoot(hashes),
    blob: { sha256, key: toHex(key) as Sha256Hex },
  }
}

test('reports are checked receipt by receipt; a replay and a stranger count for nothing; a late viewer agrees', async () => {
  const { url, keys, id, vendor, pool } = await admitted()
  const [release] = await vendor.publish([await artifact('1.0')])
  const [honest, liar, stranger] = [1, 2, 3].map(() => device(keys.nostr.key, id, pool))
  const seller = random(32) as SecretKey
  for (const one of [honest!, liar!]) {
    const walletClient = publicKey(random(32) as SecretKey)
    const secret = '00'.repeat(16)
    await one.say(JOIN_REQUEST, { v: 1, name: 'd', hardware: 'rpi4', walletClient, secret })
    const [request] = await until(vendor.joinRequests, (all) => all.some((r) => r.device === one.key))
    await vendor.accept(request!.id, { name: one === honest ? 'honest' : 'liar', fundMsat: msat(0) })
  }
  const good = receipt(release!, honest!.key, seller, 60, [0])
  const report = await reportOf(url, id, release!, honest!.secret, [good], publicKey(seller), 60)
  await honest!.say(REPORT, report)
  // The liar shows the honest device's receipt.
  await liar!.say(REPORT, await reportOf(url, id, release!, liar!.secret, [good], publicKey(seller), 60))
  const foreign = receipt(release!, stranger!.key, seller, 60, [0])
  await stranger!.say(
    REPORT,
    await reportOf(url, id, release!, stranger!.secret, [foreign], publicKey(seller), 60),
  )
  const late = receipt(release!, honest!.key, seller, 10, [0])
  const addendum = { v: 1, vendor: id, path: release!.path, receipt: late, amountMsat: 10, feesMsat: 1 }
  await honest!.say(REPORT_ADDENDUM, addendum)
  await honest!.say(REPORT_ADDENDUM, addendum)

  const complete = (fleet: ReturnType<Vendor['fleet']['get']>) =>
    fleet.releases[0]?.receiptsChecked === 2 &&
    fleet.releases[0].refused === 1 &&
    fleet.releases[0].unenrolled.length === 1
  const fleet = await until(vendor.fleet, complete)
  const [view] = fleet.releases
  expect(view).toMatchObject({ healthy: 1, enrolled: 2, paidMsat: 70, feesMsat: 1, refused: 1 })
  expect(view!.devices.find((one) => one.name === 'liar')!.verdict).toMatchObject({ why: 'receipt-invalid' })
  expect(view!.unenrolled[0]!.verdict).toMatchObject({ tag: 'refused' })
  expect(view!.sellers).toMatchObject([{ seller: publicKey(seller), paidMsat: 70 }])

  // Said again after a restart that forgot a rate: the same report.
  await honest!.say(REPORT, { ...report, sellers: [{ ...report.sellers[0]!, rateBps: 9 }] })
  await honest!.say(REPORT, { ...report, outcome: 'rolled back', finishedAt: report.finishedAt + 1 }, 5)
  const replayed = ({ releases: [one] }: ReturnType<Vendor['fleet']['get']>) =>
    one?.refused === 2 && one.receiptsChecked === 2 && one.unenrolled.length === 1
  const after = await until(vendor.fleet, replayed)
  expect(after.releases[0]!.devices.find((one) => one.name === 'honest')!.state).toBe('healthy')
  const viewer = await tab(url, keys)
  const same = await until(viewer.vendor.fleet, replayed)
  expect(same).toEqual(after)
})

test('signing again and approving distributors move the targets on', async () => {
  const { vendor } = await admitted()
  await vendor.resign()
  expect(vendor.status.get()).toMatchObject({ targetsVersion: 2 })
  await vendor.setApproved(['cd'.repeat(32) as PartyKey])
  expect(vendor.status.get()).toMatchObject({ targetsVersion: 3, approved: ['cd'.repeat(32)] })
})

test('static mirrors are signed for devices, and stay through what is published later', async () => {
  const { vendor, url } = await admitted()
  await expect(vendor.setMirrors(['ftp://files.example'])).rejects.toThrow(/no address of a mirror/)
  await vendor.setMirrors(['https://files.example/', 'https://files.example'])
  await vendor.setApproved(['cd'.repeat(32) as PartyKey])
  const status = vendor.status.get()
  if (status.tag !== 'ready') throw new Error('not admitted')
  const result = await refresh({
    mirrors: [url],
    vendor: status.vendor,
    store: memoryStore(),
    nowMs: Date.now(),
    fetch,
  })
  expect(result.tag === 'ok' && result.verified.vendorBlock.mirrors).toEqual(['https://files.example'])
})
