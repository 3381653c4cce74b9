/** A wallet service that lies in every answer. It has the balance that is kept there; it gets nothing else. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { publicKey, signEvent, type NostrEvent } from '../../web/core/nostr/event.ts'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { decryptFrom, encryptTo } from '../../web/edge/nostr/nip44.ts'
import { until } from '../support/processes.ts'
import { stageOfFile } from './stage.ts'

const stage = stageOfFile()
const METHODS = 'get_info get_balance pay_invoice make_invoice lookup_invoice list_transactions get_budget'

/** NIP-47, with lies: every payment is said to be made, with a preimage that opens nothing. */
function lyingWallet(nostrUrl: string, money: string) {
  const secret = new Uint8Array(randomBytes(32))
  const wallet = publicKey(secret)
  const client = randomBytes(32).toString('hex')
  const pool = createPool([nostrUrl])
  const asked: string[] = []
  const aux = (): Uint8Array => new Uint8Array(randomBytes(32))
  const nowS = (): number => Math.floor(Date.now() / 1000)
  const lie = randomBytes(32).toString('hex')
  const answers: Record<string, unknown> = {
    get_info: {
      alias: '<b>bank</b>',
      network: 'regtest',
      methods: METHODS.split(' '),
      satpatch: { money, preimage_invoices: true, isolated: true },
    },
    get_balance: { balance: 9_000_000_000 },
    get_budget: {},
    pay_invoice: { preimage: lie, fees_paid: 5_000_000_000 },
    lookup_invoice: {
      type: 'outgoing',
      state: 'settled',
      amount: 1,
      preimage: lie,
      created_at: nowS(),
      settled_at: nowS(),
    },
    list_transactions: { transactions: [] },
    make_invoice: { invoice: 'lnbcrt1lies' },
  }
  const stop = pool.subscribe([{ kinds: [23194], '#p': [wallet] }], (event: NostrEvent) => {
    const { method, params } = JSON.parse(decryptFrom(secret, event.pubkey, event.content)) as {
      method: string
      params: object
    }
    asked.push(method)
    const content = encryptTo(
      secret,
      event.pubkey,
      JSON.stringify({
        result_type: method,
        result: { ...(answers[method] as object), ...asAsked(method, params) },
      }),
    )
    const tags = [
      ['p', event.pubkey],
      ['e', event.id],
    ]
    void pool.publish(signEvent({ kind: 23195, created_at: nowS(), tags, content }, secret, aux()))
  })
  void pool.publish(
    signEvent(
      { kind: 13194, created_at: nowS(), tags: [['encryption', 'nip44_v2']], content: METHODS },
      secret,
      aux(),
    ),
  )
  return {
    connection: `nostr+walletconnect://${wallet}?relay=${encodeURIComponent(nostrUrl)}&secret=${client}`,
    asked,
    close() {
      stop()
      pool.close()
    },
  }
}

/** A look-up is answered for the very payment that it asks about. */
const asAsked = (method: string, params: object): object =>
  method === 'lookup_invoice' && 'payment_hash' in params ? { payment_hash: params.payment_hash } : {}

test('a lying wallet service: no preimage of its making opens anything, no receipt counts, nothing installs', async () => {
  const { device, house, host, dir } = stage()
  await device.program?.stop()
  const honest = fs.readFileSync(device.configFile, 'utf8')
  const liar = lyingWallet(`${house.relay.url.replace('http', 'ws')}/nostr`, host.config.money)
  fs.writeFileSync(
    device.configFile,
    honest.replace(/^connection = ".*"$/m, `connection = ${JSON.stringify(liar.connection)}`),
  )
  const before = await stage().standing()
  const release = await stage().ship('1.1.0')
  const receiptsBefore = receipts(device.dataDir)
  device.program = device.start()
  await until(
    'the device to ask for a payment, and to look it up or to have an answer',
    45_000,
    () => (liar.asked.includes('pay_invoice') ? true : undefined),
    () => `${liar.asked.join()}\n${device.program?.tail() ?? ''}`,
  )
  // Told by its answer and asked again: both lies are seen through, and a believed one would install at once.
  await stage().named('false-preimage', 0)
  const { jobs: _jobs, ...after } = await stage().standing()
  const { jobs: _before, ...same } = before
  expect(after).toEqual(same)
  expect(receipts(device.dataDir)).toEqual(receiptsBefore)
  expect(host.vendor.fleet.get().releases.find((one) => one.release.path === release.path)?.receipts).toBe(0)

  await device.program.stop()
  liar.close()
  fs.writeFileSync(device.configFile, honest)
  device.program = device.start()
  await stage().healthy(release)
  expect(dir).not.toBe('')
}, 240_000)

const receipts = (dataDir: string): string[] =>
  fs.readdirSync(path.join(dataDir, 'journal')).filter((name) => name.startsWith('receipt_'))
