/** What a device keeps after real trades, checked offline by the command line: a proof of fraud, and receipts. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Bytes } from '../../web/core/bytes.ts'
import { accusationEvent, contentOf } from '../../web/core/exchange/accusation.ts'
import type { Receipt } from '../../web/core/exchange/receipt.ts'
import { signEvent } from '../../web/core/nostr/event.ts'
import { readTargets } from '../../web/core/release/announce.ts'
import { testEntry, testRepository } from '../../web/core/release/test-repository.ts'
import { parseEnvelope } from '../../web/core/release/tuf.ts'
import { receiptsPath, writeReceiptsFile } from '../../device/run/receipts.ts'
import { root } from '../support/run.ts'
import { CAP, droppedFor, until, type Arena } from './arena.ts'
import { finish } from './finish.ts'
import { flip, hostileSeller } from './hostile-seller.ts'
import { inArena } from './in-arena.ts'

type Ran = Readonly<{ code: number; text: string }>
const satpatch = (...args: string[]): Promise<Ran> =>
  new Promise((done) => {
    const node = ['--disable-warning=ExperimentalWarning', join(root, 'device/main.ts'), ...args]
    execFile(process.execPath, node, (error, stdout, stderr) => {
      const code = typeof error?.code === 'number' ? error.code : error === null ? 0 : -1
      done({ code, text: stdout + stderr })
    })
  })

/** A data directory whose metadata signs the arena's artifact as a release. */
async function dataDir(arena: Arena) {
  const { meta } = arena
  const dir = await mkdtemp(join(tmpdir(), 'satpatch-verify-'))
  arena.onClose(() => rm(dir, { recursive: true, force: true }))
  const repository = testRepository(1_700_000_000_000)
  const { piecesRoot, pieceLength, infoHash, length: bytes } = meta
  const entry = testEntry('1.0.0', { piecesRoot, pieceLength, infoHash, priceCapMsat: CAP })
  repository.publish([{ ...entry, bytes }])
  const { vendor, files } = repository
  const [rootFile, targets] = [files['1.root.json'], files['1.targets.json']]
  if (rootFile === undefined || targets === undefined) throw new Error('unreachable: published')
  await mkdir(join(dir, 'metadata'))
  await mkdir(join(dir, 'proofs'))
  await writeFile(join(dir, 'metadata', 'root.json'), rootFile)
  await writeFile(join(dir, 'metadata', 'targets.json'), targets)
  const envelope = parseEnvelope('targets', targets)
  const release = envelope.tag === 'ok' ? readTargets(envelope.value.signed).releases[0] : undefined
  if (release === undefined) throw new Error('unreachable: it was just signed')
  return { dir, vendor, release }
}

const changed = (hex: string, at: number): string =>
  hex.slice(0, at) + (hex[at] === '0' ? '1' : '0') + hex.slice(at + 1)

test(
  'proof and receipts of trades over WebRTC verify against the signed release, and do not when altered',
  () =>
    inArena(async (arena) => {
      const cheat = await hostileSeller(arena, { plain: (bytes) => void bytes.set([1, 2, 3], 70_000) })
      const device = await arena.device()
      await until(device.download, droppedFor(cheat.identity.key))
      await finish(arena, device)
      await device.download.settled
      const { dir, vendor, release } = await dataDir(arena)

      const [record = ''] = await device.journal.keys('fraud/')
      const proof = (await device.journal.get(record)) as Bytes
      const eventOf = (bytes: Bytes): string => {
        const content = contentOf(bytes)
        const about = { accused: cheat.identity.key, vendor, infoHash: arena.meta.infoHash, createdAtS: 1 }
        const { secret } = device.identity
        return JSON.stringify(signEvent(accusationEvent({ ...about, content }), secret, new Uint8Array(32)))
      }
      const proofFile = join(dir, 'proofs', 'cheat.json')
      await writeFile(proofFile, eventOf(proof))
      expect(await satpatch('verify-proof', proofFile)).toMatchObject({
        code: 0,
        text: expect.stringContaining(
          `Proven: ${cheat.identity.key} cheated ${device.identity.key}`,
        ) as string,
      })
      // The block of ciphertext is its longest part by far.
      for (const at of [Math.floor(proof.length / 3), proof.length - 2]) {
        await writeFile(proofFile, eventOf(flip(proof, at)))
        expect((await satpatch('verify-proof', proofFile)).code).toBe(3)
      }

      const { windows, paid } = device.download.get()
      const receipts = device.download.receipts()
      expect(receipts.length).toBeGreaterThan(1)
      const write = (of: readonly Receipt[]): Promise<void> =>
        writeReceiptsFile(dir, {
          v: 1,
          vendor,
          device: device.identity.key,
          release,
          receipts: [...of],
          windows: [...windows],
        })
      const verify = (): Promise<Ran> => satpatch('verify-receipts', receiptsPath(dir, release), '--json')
      await write(receipts)
      const ran = await verify()
      expect(JSON.parse(ran.text)).toMatchObject({
        ok: true,
        valid: receipts.length,
        paidMsat: paid,
        bad: [],
      })
      expect(ran.code).toBe(0)
      for (const part of ['quote', 'sig', 'preimage'] as const) {
        const bent = receipts.map((one, i) => (i === 1 ? { ...one, [part]: changed(one[part], 40) } : one))
        await write(bent)
        const { code, text } = await verify()
        expect([code, JSON.parse(text)]).toMatchObject([3, { ok: false, bad: [{ index: 2 }] }])
      }
    }),
  120_000,
)
