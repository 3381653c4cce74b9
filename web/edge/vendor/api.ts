/**
 * The vendor engine as pages and commands see it: `vendor.ts` makes it, `keys.ts` the keys, `seed.ts` the
 * seeding. Everything that changes is a `Live`; everything that can fail throws a `VendorError` whose
 * message is for a person. All truth is on the relay: two tabs, a reload and a late viewer see the same.
 */
import type { Bytes, PartyKey, Sha256Hex, VendorId } from '../../core/bytes.ts'
import type { Live } from '../../core/live.ts'
import type { Cheat } from '../../core/exchange/cheats.ts'
import type { Msat } from '../../core/money/msat.ts'
import type { Change } from '../../core/release/changes.ts'
import type { Delegate, ForeignDelegation } from '../../core/release/delegate.ts'
import type { RootDraft } from '../../core/release/people.ts'
import type { Need } from '../../core/release/proposal.ts'
import type { PublicKeyObject, RootSigned } from '../../core/release/tuf.ts'
import type { FleetView, KnownRelease } from '../../core/rollout/fleet.ts'
import type { Roster } from '../../core/rollout/messages.ts'
import type { Release } from '../../core/release/target.ts'
import type { ConfidentialArtifact } from '../confidential/artifact.ts'
import type { WrapKeys } from '../confidential/keys.ts'
import type { Pool } from '../nostr/pool.ts'
import type {
  CreateShop,
  Identity,
  Journal,
  Metainfo,
  PieceStore,
  SellPolicy,
  Session,
  Shop,
  Swarm,
} from '../swarm/api.ts'
import type { PayResult, Wallet } from '../wallet/wallet.ts'
import type { RelayConfig } from '../relay-config.ts'
import type { TextStore } from '../release/store.ts'

export type { FleetView, ReleaseView, DeviceRow, DeviceRelease, Edge } from '../../core/rollout/fleet.ts'

/** One key that can sign here, whatever it may sign: that, the vendor's root says. */
export interface Signer {
  readonly key: PublicKeyObject
  /** Over the canonical bytes, as the key's scheme has it; 64 bytes for Ed25519. */
  sign(bytes: Uint8Array): Promise<Bytes>
}

/** The keys of one person or machine, wherever they live: `keys.ts` in a browser, `keys-file.ts` in Node. */
export interface VendorKeys {
  /** Its own in each role, as a first root or a card names them. */
  readonly rootKey: PublicKeyObject
  readonly targetsKey: PublicKeyObject
  /** Both, and while they are being replaced the new ones too. */
  readonly signers: readonly Signer[]
  /** The vendor's Nostr key: announces, decrypts reports, proves itself as a seller. */
  readonly nostr: Identity
  /** Replaces it once the vendor's targets name it. */
  readonly nextNostr?: Identity | undefined
  /** Those before it, newest first: they only read what devices wrote that have not looked since. */
  readonly formerNostr?: readonly Identity[]
}

export type VendorErrorCode =
  | 'not-admitted'
  | 'bad-code' // the one-time code is wrong or spent
  | 'bad-file' // empty, or a name no device can store
  | 'bad-form' // version, hardware, price, notes
  | 'not-newer'
  | 'unknown-release'
  | 'needs-signatures' // signed here; others must sign too before it is out
  | 'not-signer' // no key here may sign this
  | 'conflict' // another tab published at the same moment, twice
  | 'too-large' // the metadata would be larger than devices accept
  | 'unreachable' // the relay does not answer; nothing was signed away, try again
  | 'refused' // the relay answered no; its own words are in the message
  | 'untrusted' // what the mirror shows does not verify
  | 'wallet'
  | 'closed'

/** The message says what happened, what to do and what is not lost. `field` names the form field at fault. */
export class VendorError extends Error {
  readonly code: VendorErrorCode
  readonly field: keyof ReleaseForm | 'code' | undefined
  /** With `needs-signatures`: what waits. */
  readonly proposal: Sha256Hex | undefined
  constructor(
    code: VendorErrorCode,
    message: string,
    options?: ErrorOptions & { field?: keyof ReleaseForm | 'code'; proposal?: Sha256Hex },
  ) {
    super(message, options)
    this.name = 'VendorError'
    this.code = code
    this.field = options?.field
    this.proposal = options?.proposal
  }
}

/** What the person fills in. Texts are trimmed; empty optional ones count as absent. */
export type ReleaseForm = Readonly<{
  product: string // a-z 0-9 . _ -
  version: string // 1.4.0, 2026.11, 1.4.0-rc1
  fileName: string
  hardware: readonly string[]
  notes?: string
  /** msat per MiB. */
  priceCapMsat: Msat
  upgradesFrom?: string
  installer?: string
}>

/** From `hash-artifact.ts`, with the form; from `confidential/artifact.ts` where only enrolled devices can read it. */
export type NewRelease = Readonly<{
  meta: Metainfo
  sha256: Sha256Hex
  magnet: string
  form: ReleaseForm
  confidential?: ConfidentialArtifact
}>

export type VendorStatus =
  | { tag: 'starting' }
  /** The keys are new to this relay: ask for the one-time code that `satpatch relay` printed. */
  | { tag: 'not-admitted' }
  | Readonly<{
      tag: 'ready'
      vendor: VendorId
      name: string
      targetsVersion: number
      /** Unix ms; devices refuse the targets after it, any publish or `resign` moves it. */
      targetsExpireAt: number
      /** Approved distributors, as signed. */
      approved?: readonly PartyKey[]
      /** Static hosts that devices try after their own, as signed. */
      mirrors?: readonly string[]
    }>
  /** The relay cannot be reached or its metadata does not verify; tried again by itself where that can help. */
  | { tag: 'trouble'; text: string }

export type JoinRequestView = Readonly<{
  /** The request's rumour id. */
  id: string
  device: PartyKey
  /** Compare with the code on the device's screen. */
  code: string
  name: string
  hardware: string
  walletClient: PartyKey
  /** Unix ms. */
  at: number
  /** It shows the secret of a join code made here. Others are shown with a warning, never accepted unasked. */
  invited: boolean
}>

/** Who signs, as the verified root and targets say. */
export type SigningView = Readonly<{
  vendor: VendorId
  root: RootSigned
  draft: RootDraft
  delegates: readonly Delegate[]
  /** Delegations that other tools made, hash bins among them. */
  foreign: readonly ForeignDelegation[]
  /** The Nostr key that the targets name. */
  nostr: PartyKey
}>

/** A change that waits for signatures, judged here by the rules that devices go by. */
export type WaitingView = Readonly<{
  vendor: VendorId
  id: Sha256Hex
  changes: readonly Change[]
  needs: readonly Need[]
  /** A key here may sign it and has not. */
  mine: boolean
  /** Names by key id, of the root in force and of the one proposed. */
  names: ReadonlyMap<string, string>
}>

export type Outcome = Readonly<{ tag: 'published' }> | Readonly<{ tag: 'waiting'; id: Sha256Hex }>

export interface Vendor {
  readonly signing: Live<SigningView | undefined>
  /** What was proposed or opened here and is not out yet. */
  readonly waiting: Live<readonly WaitingView[]>
  /** Signs the next root, and the targets again where their keys change. */
  changeRoot(edit: (draft: RootDraft) => RootDraft): Promise<Outcome>
  /**
   * Signs targets that name `keys.nextNostr`: devices announce, report and listen by it from their next look on, and the
   * old key is refused. Then the keys settle, and the engine is opened anew. @throws VendorError
   */
  changeNostr(): Promise<Outcome>
  /** Lets another key sign the releases of one product. */
  delegate(delegate: Delegate): Promise<Outcome>
  undelegate(product: string): Promise<Outcome>
  /** Opens a proposal by its link; `undefined` when it waits no more. Needs no admission. */
  look(vendor: VendorId, id: Sha256Hex): Promise<WaitingView | undefined>
  /** Signs a proposal with every key here that may. */
  approve(vendor: VendorId, id: Sha256Hex): Promise<Outcome>

  readonly status: Live<VendorStatus>
  /** Newest first; withdrawn ones too. */
  readonly releases: Live<readonly KnownRelease[]>
  readonly roster: Live<Roster>
  readonly joinRequests: Live<readonly JoinRequestView[]>
  readonly fleet: Live<FleetView>
  /** Sellers whom a proof convicts, each checked here against what this vendor signed. */
  readonly cheats: Live<readonly Cheat[]>
  /** The newest RELEASE event of this vendor, JSON: the floor for wire handshakes. */
  readonly floor: Live<string | undefined>
  /** Resolves when the first state is in and `status` is no longer `starting`. */
  readonly ready: Promise<void>

  /** Makes the first root, has the relay admit it with the one-time code. */
  admit(code: string, name: string): Promise<VendorId>
  /** Checks a form against what is out already; the same checks `publish` makes. */
  check(form: ReleaseForm, bytes: number): VendorError | undefined
  /** Signs and publishes; several releases in one signing. */
  publish(releases: readonly NewRelease[]): Promise<readonly Release[]>
  /** Devices that have not begun stop; those that run it keep it. */
  withdraw(path: string): Promise<void>
  /** Keys that get first copies where the gift policy says `approved`, and that devices trust with more. */
  setApproved(distributors: readonly PartyKey[]): Promise<void>
  /** Static hosts that devices try after their own; nothing of them is trusted. @throws VendorError `bad-form` */
  setMirrors(mirrors: readonly string[]): Promise<void>
  /** Signs the same targets again for another 30 days. */
  resign(): Promise<void>
  /** The release's .torrent, checked against what was signed. */
  torrent(release: Release): Promise<Metainfo>
  /** Wraps a confidential release's key for the devices that are enrolled now: later ones too, revoked ones no more. */
  wrapAgain(path: string): Promise<void>
  /** Which devices of the roster, revoked ones among them, can read a confidential release. Takes milliseconds each. */
  readers(path: string): Promise<readonly PartyKey[]>

  makeJoinCode(): Promise<string>
  /** Enrols, and funds an isolated allowance when a wallet and `fundMsat` > 0 are given. */
  accept(id: string, grant: Readonly<{ name: string; fundMsat: Msat; wallet?: Wallet }>): Promise<void>
  decline(id: string): Promise<void>
  /** Its words count no more; its allowance stays the wallet's matter. */
  revoke(device: PartyKey): Promise<void>
  /** Another name, another group; an empty group takes it out of its group. */
  describe(device: PartyKey, said: Readonly<{ name: string; group: string }>): Promise<void>
  /**
   * Gives an enrolled device an allowance of `fundMsat`, or adds so much to the one that it has; the device takes it up
   * by itself. One that it was given and has not taken up yet is told to it again as it is. @throws VendorError
   */
  giveAllowance(device: PartyKey, grant: Readonly<{ fundMsat: Msat; wallet: Wallet }>): Promise<Given>
  /** Pays the invoice that a device in `queued` shows. */
  fund(device: PartyKey, wallet: Wallet): Promise<PayResult>
  close(): void
}

/** `again`: no sat moved, the device was told once more of what it had been given. `amount`: that, where it is known. */
export type Given = Readonly<{ again: boolean; amount?: Msat }>

export type VendorDeps = Readonly<{
  keys: VendorKeys
  /** Base URL, without a trailing slash. */
  relayUrl: string
  config: RelayConfig
  pool: Pool
  /** Trusted metadata, outstanding join secrets and the like. */
  store: TextStore
  /** Where keys are not named by the first roots: the vendor that they are known to sign for. */
  vendor?: VendorId
  nowMs: () => number
  random: (bytes: number) => Bytes
  fetch: typeof fetch
  /** Never given secrets. */
  log?: (event: string, detail: Readonly<Record<string, unknown>>) => void
  /** In a worker, where there are workers; absent: on the spot. */
  wrapKeys?: WrapKeys
}>

/** `vendor.ts` */
export type CreateVendor = (deps: VendorDeps) => Vendor

/** What anyone may see, without keys. */
export interface PublicView {
  readonly name: Live<string>
  /** Verified; the message says why when it cannot be. */
  readonly releases: Live<readonly PublicRelease[]>
  readonly trouble: Live<string | undefined>
  close(): void
}
export type PublicRelease = Readonly<{
  release: Release
  /** Attestations by outcome, one per key. Keys are free: a hint, not a count of devices. */
  healthy: number
  rolledBack: number
  failed: number
}>

/** `public-view.ts` */
export type CreatePublicView = (
  deps: Omit<VendorDeps, 'keys' | 'random' | 'config' | 'vendor'> & { vendor: VendorId },
) => PublicView

/** One release that this tab or process serves. */
export interface Seed {
  readonly path: string
  readonly session: Session
  readonly shop: Shop
  /** Full copies elsewhere: from 1 on this tab may close. */
  readonly fullCopies: Live<number>
  stop(): Promise<void>
}

/** `seed.ts`: joins the swarm with a complete store, sells and gives, announces the offer. */
export type StartSeed = (
  deps: Readonly<{
    vendor: Vendor
    keys: VendorKeys
    swarm: Swarm
    pool: Pool
    release: Release
    meta: Metainfo
    store: PieceStore
    journal: Journal
    wallet?: Wallet
    policy: SellPolicy
    nowMs: () => number
    createShop: CreateShop
  }>,
) => Promise<Seed>
