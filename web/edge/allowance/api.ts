/**
 * Allowances: wallet connections cut from a wallet, or from another allowance, with a limit that its owner moves while
 * it is in use. One keeper per origin runs them (`openKeeper`); other tabs see the same view and send it the same
 * intentions. Amounts are msat, times Unix milliseconds.
 */
import type { Bytes, Sha256Hex } from '../../core/bytes.ts'
import type { Live } from '../../core/live.ts'
import type { Money, Msat } from '../../core/money/msat.ts'
import type { Renewal } from '../../core/wallet/nip47.ts'
import type { Pool } from '../nostr/pool.ts'
import type { Journal } from '../swarm/api.ts'
import type { Wallet } from '../wallet/wallet.ts'

declare const unit: unique symbol
/** 16 hex digits, drawn when the allowance is made. */
export type AllowanceId = string & { readonly [unit]: 'allowance' }

/** What an allowance spends from: one of the owner's wallets, by the id that `KeeperOptions.sources` gives it, or another allowance. */
export type Source = Readonly<{ tag: 'wallet'; id: string } | { tag: 'allowance'; id: AllowanceId }>

/**
 * `here`: this keeper runs it; it works while a tab of this origin (or this process) is open.
 * `wallet`: the source wallet made it (NIP-47 `create_connection`) and runs it, whether or not anything is open here.
 */
export type Home = 'here' | 'wallet'

export type May = Readonly<{ pay: boolean; receive: boolean }>

export type NewAllowance = Readonly<{
  name: string
  source: Source
  /** What may pass in one period, fees included. */
  limit: Msat
  renewal: Renewal
  expiresAtMs?: number
  may: May
  home: Home
}>

export type AllowanceChange = Readonly<{
  name?: string
  renewal?: Renewal
  expiresAtMs?: number | 'never'
  may?: May
}>

/** Money on its way through one layer, or that went. `unknown`: asked for, nobody has said what became of it; it stays reserved. */
export type Flow = Readonly<{
  paymentHash: Sha256Hex
  direction: 'out' | 'in'
  state: 'in-flight' | 'unknown' | 'settled' | 'failed'
  amount: Msat
  /** Settled: what was paid. In flight: the most that is kept for it. */
  fees: Msat
  startedAtMs: number
  endedAtMs?: number
  description?: string
  /** Why it failed, or is unknown, in words. */
  why?: string
  /** Unknown: from then on it is given back if the source says that it never heard of it. */
  deadAtMs?: number
}>

export type AllowanceState = 'active' | 'paused' | 'expired' | 'revoked'

/** One layer as its owner sees it. */
export type AllowanceView = Readonly<{
  id: AllowanceId
  /** The connection's client key, and the key that serves it: public, for showing which is which. */
  client: string
  service: string
  name: string
  source: Source
  home: Home
  /** 1: cut from a wallet; one more for each allowance between. */
  depth: number
  state: AllowanceState
  limit: Msat
  /** Topped up for this period only. */
  extra: Msat
  renewal: Renewal
  renewsAtMs?: number
  expiresAtMs?: number
  may: May
  /** Passed in this period, fees included. */
  spent: Msat
  /** Kept for payments in flight, with their largest fees; `unknown` is the part of it that has no answer. */
  reserved: Msat
  unknown: Msat
  /** limit + extra - spent - reserved, at least 0. */
  left: Msat
  /** What could be paid now: `left`, or what the source has left if that is less. Absent while the source has not said. */
  available?: Msat
  /** Passed since it was made, all periods. */
  totalSpent: Msat
  totalReceived: Msat
  /** What is in flight first, then the latest; at most 50. */
  flows: readonly Flow[]
  latency: Latency
  /** When the holder was last heard. */
  heardAtMs?: number
  /** What keeps it from working, and what to do, in words. */
  trouble?: string
}>

/** Round trips in ms, the latest measured. */
export type Latency = Readonly<{
  /** From here to the source and back. */
  sourceMs?: number
  /** From the holder to here and back, as the holder's client told (ours does). */
  holderMs?: number
}>

export type SourceView = Readonly<{
  id: string
  name: string
  connected: boolean
  trouble?: string
  /** Once the wallet has said. */
  money?: Money
  /** Its balance, or its own budget's rest where that is less. */
  left?: Msat
  /** It can make connections of its own: offer `home: 'wallet'` first. */
  makesConnections: boolean
  /** Their limits can be moved from here; else only in the wallet itself. */
  managesConnections: boolean
  latencyMs?: number
}>

export type KeeperView = Readonly<{
  /** `runs`: this tab runs the allowances. `watches`: another tab does; this one shows it and takes over when it closes. */
  role: 'starting' | 'runs' | 'watches'
  sources: readonly SourceView[]
  /** Parents before children, oldest first. */
  allowances: readonly AllowanceView[]
  /** When this was true. */
  atMs: number
}>

/** Why an intention was not carried out; the message says what to do. */
export type AllowanceErrorCode =
  | 'not-found'
  | 'revoked'
  | 'bad-terms' // empty name, expiry in the past, too many layers
  | 'no-source' // the source wallet is not open here
  | 'not-offered' // the wallet cannot do that itself
  | 'in-flight' // payments have to finish first
  | 'wallet' // the source wallet refused; its words
  | 'no-answer' // the tab that runs the allowances did not answer
  | 'storage'

export class AllowanceError extends Error {
  override readonly name = 'AllowanceError'
  readonly code: AllowanceErrorCode
  constructor(code: AllowanceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** What a person can do; each resolves when it is on disk and in force. All reject with `AllowanceError`. */
export interface AllowanceKeeper {
  readonly view: Live<KeeperView>
  /** `connection` is the string to hand out (a secret: show it, never log it). */
  create(wanted: NewAllowance): Promise<{ id: AllowanceId; connection: string }>
  /** The same string again. */
  connection(id: AllowanceId): Promise<string>
  /** In force for the next payment. Payments in flight finish and count, also above the new limit. */
  setLimit(id: AllowanceId, limit: Msat): Promise<void>
  /** Without renewal the limit is raised; otherwise this period gets `amount` more. */
  topUp(id: AllowanceId, amount: Msat): Promise<void>
  change(id: AllowanceId, change: AllowanceChange): Promise<void>
  pause(id: AllowanceId): Promise<void>
  resume(id: AllowanceId): Promise<void>
  /** For ever; what is in flight finishes. Allowances cut from it here are revoked with it. */
  revoke(id: AllowanceId): Promise<void>
  /** Takes a revoked one off the list. @throws AllowanceError `in-flight` */
  remove(id: AllowanceId): Promise<void>
  /** The seller's proof that an unknown payment went through: settles it at this layer. */
  showPreimage(id: AllowanceId, preimage: string): Promise<void>
  close(): Promise<void>
}

/** A wallet of the owner that allowances can be cut from; whoever opened it closes it. */
export type OpenSource = Readonly<{ name: string; wallet: Wallet }>

/** Held by one tab, or process, at a time. */
export interface KeeperLock {
  /** Waits while another holds it; gives the function that lets go. Rejects when `signal` aborts. */
  acquire(signal: AbortSignal): Promise<() => void>
}

/** Between the tabs of one origin; messages are structured clones. */
export interface KeeperChannel {
  post(message: unknown): void
  onMessage(run: (message: unknown) => void): () => void
  close(): void
}

/** Keeps the allowances' secrets unreadable at rest; without one they are stored as they are. */
export interface Vault {
  seal(secret: Bytes): Promise<Bytes>
  /** Rejects while it is locked. */
  open(sealed: Bytes): Promise<Bytes>
}

export type KeeperOptions = Readonly<{
  /**
   * The owner's wallets by id. One that appears later starts the allowances that were waiting for it; whenever this
   * changes, secrets that were locked are tried again.
   */
  sources: Live<ReadonlyMap<string, OpenSource>>
  journal: Journal
  lock: KeeperLock
  /** Absent where one process is all there is. */
  channel?: KeeperChannel
  vault?: Vault
  /** Relays that new allowances are served at, wss:// or ws://. */
  relays: readonly string[]
  nowMs?: () => number
  /** Cryptographically random bytes. */
  random?: (length: number) => Bytes
  openPool?: (relays: readonly string[]) => Pool
  log?: (event: string, detail: Readonly<Record<string, unknown>>) => void
}>
