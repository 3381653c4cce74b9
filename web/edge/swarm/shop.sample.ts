/** A `Shop` without a network, for tests: its peers are made by hand, the wallet and the clock are given. */
import type { InfoHash } from '../../core/bytes.ts'
import type { Message } from '../../core/exchange/message.ts'
import { artifact, bytes32, MONEY, party } from '../../core/exchange/sample.ts'
import { msat } from '../../core/money/msat.ts'
import { piecesOf, type Shape } from '../../core/swarm/merkle.ts'
import type { InvoiceRequest, Wallet, WalletEvent, WalletFeature } from '../wallet/wallet.ts'
import { memoryJournal, memoryStore } from './memory.ts'
import type { Peer } from './peer.ts'
import { createShop } from './shop.ts'
import type { SessionPart, TradingSession } from './swarm.ts'

const MIB = 1024 * 1024

/** `features` beside receiving; `over`: what this wallet does otherwise than answer at once. */
export function shopScene(shape: Shape, features: readonly WalletFeature[], over: Partial<Wallet> = {}) {
  let nowMs = 1_800_000_000_000
  let part: SessionPart | undefined
  let tell: (event: WalletEvent) => void = () => undefined
  const of = artifact(shape)
  const session = {
    meta: {
      ...shape,
      pieces: piecesOf(shape),
      infoHash: 'ab'.repeat(20) as InfoHash,
      piecesRoot: of.root,
      layer: of.layer,
      name: 'x',
      torrent: new Uint8Array(),
    },
    store: memoryStore(shape, of.bytes),
    attach(attached: SessionPart) {
      part = attached
      return () => undefined
    },
    proven: () => [],
  } as unknown as TradingSession
  const invoice = (request: Pick<InvoiceRequest, 'amount'>) =>
    Promise.resolve({ bolt11: 'lnbcrt', paymentHash: bytes32('x'), amount: request.amount, expiresAtMs: 0 })
  const wallet = {
    status: { get: () => ({ connected: true }), subscribe: () => () => undefined },
    info: () => Promise.resolve({ money: MONEY, alias: '', features: new Set(['receive', ...features]) }),
    onEvent: (run: (event: WalletEvent) => void) => {
      tell = run
      return () => undefined
    },
    lookUp: () => Promise.resolve(undefined),
    makeInvoice: invoice,
    makeHoldInvoice: invoice,
    cancelHoldInvoice: () => Promise.resolve(),
    ...over,
  } as unknown as Wallet
  const journal = memoryJournal()
  const shop = createShop({
    session,
    identity: party('seller'),
    journal,
    wallet,
    nowMs: () => nowMs,
    policy: {
      price: msat(1000),
      gifts: { to: 'nobody', copies: 0 },
      approved: [],
      unpaidBytes: 32 * MIB,
      unprovenBytes: 16 * MIB,
    },
  })
  return {
    shop,
    journal,
    nowMs: () => nowMs,
    pass: (ms: number) => (nowMs += ms),
    tell: (event: WalletEvent) => tell(event),
    /** `reads`: resolves when it has read what it was sent. */
    join(name: string, reads: () => Promise<void> = () => Promise.resolve()) {
      const heard: Message[] = []
      let got = 0
      const peer = {
        id: name,
        key: party(name).key,
        role: 'device',
        gone: false,
        frame: 65_536,
        nearlyOut: 65_536,
        send: (message: Message) => heard.push(message),
        sendData: (_id: number, _at: number, bytes: Uint8Array) => (got += bytes.length),
        drained: reads,
      } as unknown as Peer
      part?.joined?.(peer)
      return {
        heard,
        bytes: () => got,
        say: (message: Message) => part?.message?.(peer, message),
        said: (tag: Message['t']) => heard.some(({ t }) => t === tag),
      }
    },
  }
}
