/** Proofs of fraud from the wire to the relay and back: who has one never buys from that key, now or later. */
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { fromHex, type Bytes, type PartyKey, type Sha256Hex, type VendorId } from '../../web/core/bytes.ts'
import { accusationEvent, contentOf } from '../../web/core/exchange/accusation.ts'
import { decodeQuote } from '../../web/core/exchange/quote.ts'
import { signEvent, type NostrEvent } from '../../web/core/nostr/event.ts'
import { FRAUD_PROOF } from '../../web/core/nostr/kinds.ts'
import type { Release } from '../../web/core/release/target.ts'
import { pieceBytes } from '../../web/core/swarm/merkle.ts'
import { createPool, type Pool } from '../../web/edge/nostr/pool.ts'
import type { BuyPolicy, Identity } from '../../web/edge/swarm/api.ts'
import { createCheats, type Cheats } from '../../web/edge/swarm/cheats.ts'
import { createDownload } from '../../web/edge/swarm/download.ts'
import { cryptWindow, leafHashes } from '../../web/edge/swarm/window-cipher.ts'
import { fraudProof } from '../../web/edge/swarm/window-proof.ts'
import { relay, afterTest } from '../../relay/fixture.ts'
import {
  Arena,
  buyPolicy,
  droppedFor,
  GRANT,
  ONE_PIECE,
  until,
  whyDropped,
  type Device,
  type Self,
} from './arena.ts'
import { lost } from './finish.ts'
import { hostileSeller, type HostileSeller } from './hostile-seller.ts'
import { inArena } from './in-arena.ts'

const vendor = 'ab'.repeat(32) as VendorId
const releaseOf = ({ meta }: Arena): Release =>
  ({
    infoHash: meta.infoHash,
    piecesRoot: meta.piecesRoot,
    bytes: meta.length,
    pieceLength: meta.pieceLength,
  }) as Release

type Buyer = Device & { readonly cheats: Cheats; kill(): Promise<void> }

/** A relay in this process, and buyers that know each other only through it. */
async function fleet(arena: Arena) {
  const running = await relay()
  const nostrUrl = `${running.url.replace('http', 'ws')}/nostr`
  const connect = (): Pool => {
    const pool = createPool([nostrUrl], { random: () => 0 })
    afterTest(() => pool.close())
    return pool
  }

  /** Its book is open before it joins the swarm. `begin`: only then it does. */
  async function buyer(
    options: {
      policy?: Partial<BuyPolicy>
      as?: Self
      pool?: Pool
      follows?: boolean
      before?: (cheats: Cheats) => Promise<unknown>
    } = {},
  ): Promise<Buyer> {
    const member = await arena.member('device', {
      full: false,
      balance: GRANT,
      ...(options.as === undefined ? {} : { as: options.as }),
    })
    const { identity, journal, session } = member
    const cheats = createCheats({
      pool: options.pool ?? connect(),
      journal,
      identity,
      nowMs: arena.nowMs,
      random: Math.random,
      randomBytes: (length) => new Uint8Array(randomBytes(length)) as Bytes,
      retryMs: 50,
    })
    await cheats.loaded
    if (options.follows !== false) cheats.follow(vendor, [releaseOf(arena)], [])
    await options.before?.(cheats)
    const download = createDownload({
      ...member,
      cheats: cheats.proven,
      policy: { ...buyPolicy, ...options.policy },
      nowMs: arena.nowMs,
    })
    download.onFraud((proof, seller) => cheats.accuse(arena.meta.infoHash, proof, seller))
    session.peers.subscribe(({ provenKeys }) => cheats.meet(provenKeys))
    await download.start()
    const kill = async (): Promise<void> => {
      await download.stop()
      await cheats.stop()
      await member.leave()
    }
    arena.onClose(kill)
    return { ...member, download, cheats, kill }
  }
  return { connect, buyer }
}

const convicted = (cheats: Cheats, key: PartyKey) => until(cheats.proven, (map) => map.has(key))
const wrongBytes = (arena: Arena): Promise<HostileSeller> =>
  hostileSeller(arena, { plain: (bytes) => void bytes.set([1, 2, 3], 70_000) })

/** Everything comes from others: the cheat got no request and no sat more. */
async function buysFromOthers(arena: Arena, device: Buyer, cheat: HostileSeller): Promise<void> {
  const before = { requests: cheat.requests(), sats: await lost(cheat) }
  await device.download.complete
  expect(arena.intact(device)).toBe(true)
  expect(cheat.requests()).toBe(before.requests)
  expect(await lost(cheat)).toBe(before.sats)
}

test(
  'one device is cheated once; no other that has the proof buys from the key, met before or after',
  () =>
    inArena(async (arena) => {
      const { buyer } = await fleet(arena)
      const cheat = await wrongBytes(arena)
      const key = cheat.identity.key
      // Meets the cheat before anybody was cheated, and does not buy yet: the price is above its cap.
      const early = await buyer({ policy: { priceCap: 0 as BuyPolicy['priceCap'] } })
      await until(early.session.peers, ({ provenKeys }) => provenKeys.includes(key))
      await until(early.download, ({ state }) => state.tag === 'waiting' && state.why === 'price')

      const victim = await buyer()
      await until(victim.download, droppedFor(key))
      expect(await lost(cheat)).toBeGreaterThan(0)
      expect(await lost(cheat)).toBeLessThanOrEqual(ONE_PIECE)

      await convicted(early.cheats, key)
      await until(early.download, droppedFor(key))
      expect(whyDropped(early, key)).toContain(`sold the buyer ${victim.identity.key.slice(0, 8)}`)
      expect(early.download.get().windows).toEqual([])
      await early.kill()
      await arena.seller()
      const late = await buyer({ before: (cheats) => convicted(cheats, key) })
      await buysFromOthers(arena, late, cheat)
      await buysFromOthers(arena, victim, cheat)
      const bought = (device: Buyer) =>
        device.download.get().windows.filter((row) => row.seller === key).length
      expect([bought(victim), bought(late)]).toEqual([1, 0])
      expect(victim.cheats.proven.get().get(key)).toMatchObject({ from: 'self', buyer: victim.identity.key })
      for (const { cheats } of [early, late]) expect(cheats.ignored.get().size).toBe(0)
    }),
  40_000,
)

test(
  'a false proof bans nobody and its author is not believed again; a restart remembers both',
  () =>
    inArena(async (arena) => {
      const { buyer, connect } = await fleet(arena)
      const pool = connect()
      // An honest seller sells the liar a window: the receipt is real, the accusation is not.
      const honest = await arena.seller()
      const liar = await buyer({ follows: false })
      await liar.download.complete
      const lie = await accusationOf(arena, liar, honest.identity.key)
      const watcher = await buyer({ policy: { priceCap: 0 as BuyPolicy['priceCap'] } })
      await pool.publish(lie)
      expect((await until(watcher.cheats.ignored, (map) => map.size > 0)).get(liar.identity.key)).toBe(
        'block is genuine',
      )
      await honest.kill()

      // Then there is a real cheat. The liar's word about it is true, and is not heard.
      const cheat = await wrongBytes(arena)
      const key = cheat.identity.key
      const victim = await buyer({ pool: createPool([], {}), policy: { unprovenBudget: ONE_PIECE } })
      await until(victim.download, droppedFor(key))
      const [record] = await victim.journal.keys('fraud/')
      const proof = (await victim.journal.get(record as string)) as Bytes
      const by = (identity: Identity): NostrEvent =>
        signEvent(
          accusationEvent({
            accused: key,
            vendor,
            infoHash: arena.meta.infoHash,
            content: contentOf(proof),
            createdAtS: Math.floor(Date.now() / 1000),
          }),
          identity.secret,
          randomBytes(32),
        )
      const heard = new Promise<void>(
        (done) => void pool.subscribe([{ kinds: [FRAUD_PROOF], '#p': [key] }], () => done()),
      )
      await pool.publish(by(liar.identity))
      await heard
      // What a third party proves later is heard after it: by then the liar's word has been passed over.
      // It happens elsewhere, so that nobody there meets the first cheat.
      const apart = await arena.beside()
      arena.onClose(() => apart.close())
      const other = await wrongBytes(apart)
      const second = await (await fleet(apart)).buyer({ pool: connect() })
      await until(second.download, droppedFor(other.identity.key))
      await convicted(watcher.cheats, other.identity.key)
      expect(watcher.cheats.proven.get().has(key)).toBe(false)
      // The victim's own publication, word for word the same proof, convicts.
      await pool.publish(by(victim.identity))
      await convicted(watcher.cheats, key)
      expect(watcher.cheats.proven.get().has(honest.identity.key)).toBe(false)
      await watcher.kill()

      // After a restart, with no relay in reach, both are known: it buys from the honest seller alone.
      await arena.seller({}, honest)
      const again = await buyer({ as: watcher, pool: createPool([], {}) })
      expect([...again.cheats.ignored.get().keys()]).toEqual([liar.identity.key])
      expect(again.cheats.proven.get().has(key)).toBe(true)
      await buysFromOthers(arena, again, cheat)
      expect(again.download.get().windows.every((row) => row.seller === honest.identity.key)).toBe(true)
    }),
  40_000,
)

/** The liar's accusation: its first window, sold honestly, is said to hold a wrong first block. */
async function accusationOf(arena: Arena, liar: Buyer, accused: PartyKey): Promise<NostrEvent> {
  const { meta } = arena
  const receipt = liar.download.receipts()[0]
  const quote = receipt && decodeQuote(fromHex(receipt.quote))
  if (receipt === undefined || quote === undefined) throw new Error('nothing was sold')
  const parts = quote.pieces.map((piece) =>
    arena.content.subarray(piece * meta.pieceLength, piece * meta.pieceLength + pieceBytes(meta, piece)),
  )
  const plain = new Uint8Array(Buffer.concat(parts))
  const ciphertext = await cryptWindow(fromHex(receipt.preimage), quote.id as Sha256Hex, plain)
  const wrong = { piece: quote.pieces[0] as number, block: 0, index: 0 }
  const proof = await fraudProof(receipt, ciphertext, await leafHashes(plain), wrong, meta)
  const createdAtS = Math.floor(Date.now() / 1000)
  const content = contentOf(proof)
  const template = accusationEvent({ accused, vendor, infoHash: meta.infoHash, content, createdAtS })
  return signEvent(template, liar.identity.secret, randomBytes(32))
}
