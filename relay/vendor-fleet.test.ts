/** A fleet and its vendor over a real relay: joining, allowances, reports and their receipts. */
import { expect, test } from 'vitest'
import { sha256Hex, toHex, type PartyKey, type Sha256Hex } from '../web/core/bytes.ts'
import { encodeInvoice } from '../web/core/money/bolt11.ts'
import { msat, type Money } from '../web/core/money/msat.ts'
import { publicKey, type SecretKey } from '../web/core/nostr/event.ts'
import { JOIN_ACCEPT, JOIN_REQUEST, REPORT, REPORT_ADDENDUM } from '../web/core/nostr/kinds.ts'
import { receiptOf, signQuote } from '../web/core/exchange/quote.ts'
import type { Receipt } from '../web/core/exchange/receipt.ts'
import type { Release } from '../web/core/release/target.ts'
import { decodeJoinCode, deviceCode } from '../web/core/rollout/join.ts'
import type { Report } from '../web/core/rollout/messages.ts'
import { sealBlob } from '../web/core/rollout/report-blob.ts'
import { receiptsRoot } from '../web/core/rollout/report.ts'
import { verifyReceipt } from '../web/core/exchange/quote.ts'
import { unwrap } from '../web/edge/nostr/nip59.ts'
import { putBlob } from '../web/edge/release/api.ts'
import type { Vendor } from '../web/edge/vendor/api.ts'
import { WalletError, type Wallet } from '../web/edge/wallet/wallet.ts'
import { admitted, artifact, baseProgress, device, fakeWallet, random, tab, until } from './vendor-fixture.ts'

const invoiceOver = (amountMsat: number | undefined): string =>
  encodeInvoice(
    {
      prefix: 'lnbcrt',
      ...(amountMsat === undefined ? {} : { amount: msat(amountMsat) }),
      paymentHash: sha256Hex(random(32)),
      paymentSecret: toHex(random(32)),
      description: 'more',
      createdAtMs: Date.now(),
      expirySeconds: 600,
    },
    random(32),
  )

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
  // It goes on asking, and is not shown again; somebody else is.
  await uninvited.say(JOIN_REQUEST, { ...request, name: 'again', secret: '00'.repeat(16) })
  const third = device(keys.nostr.key, id, pool)
  await third.say(JOIN_REQUEST, { ...request, secret: read.code.secret })
  const asking = await until(vendor.joinRequests, (requests) => requests.length > 0)
  expect(asking.map((one) => one.device)).toEqual([third.key])
  await vendor.decline(asking[0]!.id)

  const asks = async (seq: number, amountMsat: number | undefined) => {
    const fundInvoice = invoiceOver(amountMsat)
    await shed.progress({ ...baseProgress, seq, at: seq, needMsat: msat(5000), fundInvoice })
    await until(vendor.fleet, (fleet) => fleet.devices[0]?.fundInvoice === fundInvoice)
    return vendor.fund(shed.key, fakeWallet([]))
  }
  // It shows that it needs 5 sats, and an invoice over more, or over whatever a wallet likes.
  await expect(asks(1, 11_001)).rejects.toMatchObject({ code: 'refused' })
  await expect(asks(2, undefined)).rejects.toMatchObject({ code: 'refused' })
  expect(await asks(3, 5000)).toMatchObject({ tag: 'paid' })
  expect(await asks(4, 11_000)).toMatchObject({ tag: 'paid' })
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

test('a device that was accepted without an allowance gets one later, and more when it asks for it', async () => {
  const { keys, id, vendor, pool } = await admitted()
  const shed = device(keys.nostr.key, id, pool)
  const client = publicKey(random(32) as SecretKey)
  const request = { v: 1, name: 'shed', hardware: 'rpi4', walletClient: client, secret: '00'.repeat(16) }
  await shed.say(JOIN_REQUEST, request)
  const [asking] = await until(vendor.joinRequests, (requests) => requests.length === 1)
  const grant = (wallet: Wallet, sats = 500) => ({ fundMsat: msat(sats * 1000), wallet })
  const cut: string[] = []
  await expect(vendor.giveAllowance(shed.key, grant(fakeWallet(cut)))).rejects.toMatchObject({
    code: 'refused',
  })
  await vendor.accept(asking!.id, { name: 'Shed', fundMsat: msat(0) })
  await until(vendor.fleet, (fleet) => fleet.devices.length === 1)
  // It has not said that it takes one: its owner's wallet may pay.
  await expect(vendor.giveAllowance(shed.key, grant(fakeWallet(cut)))).rejects.toMatchObject({
    code: 'refused',
  })
  await shed.progress({ ...baseProgress, allowance: { client, given: false } })
  await until(vendor.fleet, (fleet) => fleet.devices[0]?.allowance === 'none')

  const answers: unknown[] = []
  const told = new Promise<void>((resolve) => {
    pool.subscribe([{ kinds: [1059], '#p': [shed.key] }], (event) => {
      const rumour = unwrap(event, shed.secret)
      if (rumour?.kind !== JOIN_ACCEPT || !rumour.content.includes('walletPubkey')) return
      answers.push(JSON.parse(rumour.content))
      resolve()
    })
  })
  await vendor.giveAllowance(shed.key, grant(fakeWallet(cut)))
  await told
  expect(cut).toEqual([client])
  expect(answers).toMatchObject([{ vendor: id, name: 'Shed', wallet: { walletPubkey: 'ab'.repeat(32) } }])

  await shed.progress({ ...baseProgress, seq: 2, at: Date.now() + 1, allowance: { client, given: true } })
  await until(vendor.fleet, (fleet) => fleet.devices[0]?.allowance === 'given')
  const changes: unknown[] = []
  const holding = (connections: readonly object[]) =>
    ({
      listConnections: async () => connections,
      updateConnection: async (...change: unknown[]) => void changes.push(change),
    }) as unknown as Wallet
  await vendor.giveAllowance(shed.key, grant(holding([{ client, limit: 500_000 }]), 100))
  expect(changes).toEqual([[client, { limit: 600_000 }]])
  await expect(vendor.giveAllowance(shed.key, grant(holding([])))).rejects.toMatchObject({ code: 'wallet' })
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
