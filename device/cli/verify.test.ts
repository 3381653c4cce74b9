/** `verify-proof` and `verify-receipts` as they are typed, on files like those that a device keeps. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toHex, type InfoHash } from '../../web/core/bytes.ts'
import { accusationEvent, contentOf } from '../../web/core/exchange/accusation.ts'
import { encodeProof, type FraudProof } from '../../web/core/exchange/fraud.ts'
import { receiptOf } from '../../web/core/exchange/quote.ts'
import { artifact, BLOCK, bytes32, party, proofOf, sell } from '../../web/core/exchange/sample.ts'
import { msat } from '../../web/core/money/msat.ts'
import { signEvent, type NostrEvent } from '../../web/core/nostr/event.ts'
import { readTargets } from '../../web/core/release/announce.ts'
import {
  signWith,
  testEntry,
  testKey,
  testKeys,
  testRepository,
} from '../../web/core/release/test-repository.ts'
import { parseEnvelope } from '../../web/core/release/tuf.ts'

type Ran = Readonly<{ code: number; stdout: string; stderr: string }>
const run = (...args: string[]): Promise<Ran> =>
  new Promise((resolve) => {
    const main = fileURLToPath(new URL('../main.ts', import.meta.url))
    const node = ['--disable-warning=ExperimentalWarning', main, ...args]
    execFile(process.execPath, node, { timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr })
    })
  })

const of = artifact({ length: 5 * BLOCK, pieceLength: 4 * BLOCK })
const infoHash = 'ab'.repeat(20) as InfoHash
const parties = { buyer: party('buyer'), seller: party('seller') }
const sold = sell(of, [0], parties, { spoil: (plain) => void (plain[0] = 99) })
const proof = proofOf(of, sold, 0, 0)
const repository = testRepository(1_700_000_000_000)
const entry = (priceCapMsat: number) => ({
  ...testEntry('1.0.0', {
    piecesRoot: of.root,
    pieceLength: of.shape.pieceLength,
    infoHash,
    priceCapMsat: msat(priceCapMsat),
  }),
  bytes: of.shape.length,
})
repository.publish([entry(100_000)])
const { vendor, files } = repository

const eventOf = (of: FraudProof): NostrEvent =>
  signEvent(
    accusationEvent({
      accused: parties.seller.key,
      vendor,
      infoHash,
      content: contentOf(encodeProof(of)),
      createdAtS: 1,
    }),
    parties.buyer.secret,
    bytes32('aux'),
  )

let dir: string
const at = (...parts: string[]) => join(dir, ...parts)
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-verify-'))
  for (const name of ['metadata', 'proofs', 'receipts', 'mirror', 'other']) await mkdir(at(name))
  await writeFile(at('metadata', 'root.json'), files['1.root.json']!)
  await writeFile(at('metadata', 'targets.json'), files['1.targets.json']!)
  for (const [name, bytes] of Object.entries(files)) await writeFile(at('mirror', name), bytes)
  await writeFile(at('proofs', 'good.json'), JSON.stringify(eventOf(proof)))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

describe('verify-proof', () => {
  test('a device’s own file is checked against its own store, and says who cheated whom', async () => {
    const { code, stdout } = await run('verify-proof', at('proofs', 'good.json'))
    expect(stdout).toMatch(
      new RegExp(
        `Proven: ${parties.seller.key} cheated ${parties.buyer.key}.*1 pieces.*block 0 of piece 0 of pump 1.0.0`,
      ),
    )
    expect(code).toBe(0)
    const machine = await run('verify-proof', at('proofs', 'good.json'), '--json')
    expect(JSON.parse(machine.stdout)).toMatchObject({
      ok: true,
      signaturesChecked: true,
      vendorChecked: true,
      seller: parties.seller.key,
      buyer: parties.buyer.key,
      paidMsat: sold.signed.quote.amount,
    })
  }, 30_000)

  test('the bare proof and a mirror’s files do as well', async () => {
    await writeFile(at('bare'), encodeProof(proof))
    const mirror = await run('verify-proof', at('bare'), '--release', at('mirror'), '--vendor', vendor)
    expect([mirror.code, mirror.stderr]).toEqual([0, ''])
    const given = ['--targets', at('mirror', '1.targets.json'), '--root', at('mirror', '1.root.json')]
    expect((await run('verify-proof', at('bare'), ...given)).code).toBe(0)
    const alone = await run('verify-proof', at('bare'))
    expect(alone.code).toBe(2)
    expect(alone.stderr).toContain('give --release')
  }, 30_000)

  const honest = proofOf(of, sell(of, [0], parties), 0, 0)
  const bent = {
    ...proof,
    ciphertext: proof.ciphertext.map((byte, i) => (i === 9 ? byte ^ 1 : byte)) as typeof proof.ciphertext,
  }
  test.each<[string, () => string | Uint8Array, RegExp]>([
    ['a genuine block', () => JSON.stringify(eventOf(honest)), /nobody cheated/],
    ['a changed block', () => JSON.stringify(eventOf(bent)), /ciphertext is not what the seller signed/],
    [
      'an event of another author',
      () => JSON.stringify({ ...eventOf(proof), created_at: 2 }),
      /not signed by its author/,
    ],
    ['no proof', () => '{"kind":1}', /not a proof of fraud, or was changed/],
    ['too much', () => new Uint8Array(200_000), /too large/],
  ])(
    '%s is refused with the reason',
    async (_, make, why) => {
      await writeFile(at('proofs', 'bad.json'), make())
      const { code, stdout, stderr } = await run('verify-proof', at('proofs', 'bad.json'))
      expect(code).toBe(3)
      expect(stdout + stderr).toMatch(why)
    },
    30_000,
  )

  test('metadata that another key signed, and another vendor’s, are refused', async () => {
    const envelope = parseEnvelope('targets', files['1.targets.json']!)
    if (envelope.tag === 'refused') throw new Error(envelope.refusal.text)
    await writeFile(at('other', 'root.json'), files['1.root.json']!)
    await writeFile(at('other', 'targets.json'), signWith(envelope.value.signed, testKey('mallory')))
    expect((await run('verify-proof', at('proofs', 'good.json'), '--release', at('other'))).code).toBe(3)
    const stranger = testRepository(1, { ...testKeys, root: testKey('stranger') })
    await writeFile(at('other', 'root.json'), stranger.files['1.root.json']!)
    const other = await run('verify-proof', at('proofs', 'good.json'), '--release', at('other'))
    expect([other.code, other.stderr.includes('not the root of the vendor')]).toEqual([3, true])
  }, 30_000)
})

describe('verify-receipts', () => {
  const envelope = parseEnvelope('targets', files['1.targets.json']!)
  const release = envelope.tag === 'ok' ? readTargets(envelope.value.signed).releases[0] : undefined
  const receipt = receiptOf(sold.signed, toHex(sold.secret))
  const write = (receipts: unknown[], name = 'r.json', more: object = {}) =>
    writeFile(
      at('receipts', name),
      JSON.stringify({ v: 1, vendor, device: parties.buyer.key, release, receipts, windows: [], ...more }),
    )

  test('a device’s own file is checked against what the vendor signed', async () => {
    await write([receipt])
    const { code, stdout } = await run('verify-receipts', at('receipts', 'r.json'), '--json')
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      valid: 1,
      releaseSigned: true,
      signaturesChecked: true,
      vendorChecked: true,
      money: ['sandbox:test'],
    })
    expect(code).toBe(0)
  }, 30_000)

  test('what the file says of its release counts for nothing: the signed price cap does', async () => {
    const dear = testRepository(1_700_000_000_000)
    dear.publish([entry(1)])
    await mkdir(at('cheap'))
    for (const [name, bytes] of Object.entries(dear.files)) await writeFile(at('cheap', name), bytes)
    await write([receipt])
    const { code, stdout } = await run('verify-receipts', at('receipts', 'r.json'), '--release', at('cheap'))
    expect(code).toBe(3)
    expect(stdout).toContain('above the price cap')
  }, 30_000)

  test.each<[string, object, RegExp]>([
    ['another preimage', { preimage: '00'.repeat(32) }, /preimage does not fit/],
    ['another signature', { sig: '00'.repeat(64) }, /bad signature/],
  ])(
    '%s is refused',
    async (_, change, why) => {
      await write([{ ...receipt, ...change }])
      const { code, stdout } = await run('verify-receipts', at('receipts', 'r.json'))
      expect(code).toBe(3)
      expect(stdout).toMatch(why)
    },
    30_000,
  )

  test('the same receipt twice is one payment', async () => {
    await write([receipt, receipt])
    const { code, stdout } = await run('verify-receipts', at('receipts', 'r.json'), '--json')
    expect(code).toBe(3)
    expect(JSON.parse(stdout)).toMatchObject({
      ok: false,
      valid: 1,
      paidMsat: sold.signed.quote.amount,
      bad: [{ index: 2, why: 'its payment was counted before' }],
    })
  }, 30_000)

  test('without a signed release nothing is verified', async () => {
    await mkdir(at('elsewhere'))
    await write([receipt], '../elsewhere/r.json')
    await rm(at('nowhere'), { recursive: true, force: true })
    await mkdir(at('nowhere', 'deep'), { recursive: true })
    await write([receipt], '../nowhere/deep/r.json')
    const { code, stdout } = await run('verify-receipts', at('nowhere', 'deep', 'r.json'))
    expect(code).toBe(3)
    expect(stdout).toContain('give --release')
  }, 30_000)
})
