/** Enrolling devices: join codes, requests, acceptance with a funded allowance (ARCHITECTURE.md "Joining"). */
import * as v from 'valibot'
import { parsePartyKey, type PartyKey, type VendorId } from '../../core/bytes.ts'
import { msat } from '../../core/money/msat.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { JOIN_ACCEPT } from '../../core/nostr/kinds.ts'
import { deviceCode, encodeJoinCode } from '../../core/rollout/join.ts'
import { checkJoinSecret, makeJoinSecret } from '../../core/rollout/join-secret.ts'
import { joinRequestSchema, type JoinAccept, type Roster } from '../../core/rollout/messages.ts'
import { enrol } from '../../core/rollout/roster.ts'
import { wrap, type Rumour } from '../nostr/nip59.ts'
import { WalletError, type Wallet } from '../wallet/wallet.ts'
import { VendorError, type JoinRequestView, type Vendor, type VendorDeps } from './api.ts'
import type { RosterSync } from './roster-sync.ts'

/** Requests shown; uninvited ones are the first to go. */
const MAX_PENDING = 200
const MAX_UNINVITED = 20
const MAX_DECLINED = 500
/** Askings for an allowance whose answers were lost, remembered for each device. */
const MAX_ASKED = 8

const grantSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    walletPubkey: v.custom<PartyKey>((x) => typeof x === 'string' && !!parsePartyKey(x)),
    relays: v.array(v.string()),
  }),
)
type Grant = v.InferOutput<typeof grantSchema>
const askedSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.array(
    v.object({ name: v.string(), limit: v.pipe(v.number(), v.integer(), v.minValue(0), v.transform(msat)) }),
  ),
)
type Asked = v.InferOutput<typeof askedSchema>[number]

export interface Joining {
  readonly requests: Live<readonly JoinRequestView[]>
  makeCode(): string
  /** A JOIN_REQUEST rumour came. */
  heard(rumour: Rumour): void
  accept: Vendor['accept']
  decline: Vendor['decline']
  close(): void
}

export function createJoining(deps: VendorDeps, vendor: VendorId, roster: RosterSync): Joining {
  const { keys, store, pool } = deps
  const { key, secret } = keys.nostr
  const latest = new Map<PartyKey, JoinRequestView>()
  const requests = liveCell<readonly JoinRequestView[]>([])
  let declined: string[] = []
  const declinedHome = `declined/${vendor}`
  void store.get(declinedHome).then(
    (text) => {
      const ids: unknown = text === undefined ? [] : JSON.parse(text)
      if (Array.isArray(ids)) declined = [...declined, ...ids.filter((id) => typeof id === 'string')]
      show()
    },
    () => undefined,
  )

  function show(): void {
    const members = new Map(roster.roster.get().devices.map((one) => [one.key, one]))
    const open = [...latest.values()].filter((request) => {
      if (declined.includes(request.id)) return false
      const member = members.get(request.device)
      // A device that was revoked may ask again.
      return !member || (member.revokedAt !== undefined && request.at > member.revokedAt)
    })
    const byTime = open.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1))
    const uninvited = byTime.filter((request) => !request.invited).slice(-MAX_UNINVITED)
    requests.set(
      byTime.filter((request) => request.invited || uninvited.includes(request)).slice(-MAX_PENDING),
    )
  }
  const endRoster = roster.roster.subscribe(() => show())

  function heard(rumour: Rumour): void {
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), joinRequestSchema), rumour.content)
    if (!parsed.success) return
    const at = rumour.created_at * 1000
    const before = latest.get(rumour.pubkey)
    if (before && (before.at > at || (before.at === at && before.id >= rumour.id))) return
    const { name, hardware, walletClient, secret: shown } = parsed.output
    if (!before && latest.size >= MAX_PENDING * 10) return
    latest.set(rumour.pubkey, {
      id: rumour.id,
      device: rumour.pubkey,
      code: deviceCode(rumour.pubkey),
      name: name.trim() || rumour.pubkey.slice(0, 8),
      hardware,
      walletClient,
      at,
      invited: checkJoinSecret(shown, vendor, secret, at),
    })
    show()
  }

  function pending(id: string): JoinRequestView {
    const request = requests.get().find((one) => one.id === id)
    if (request) return request
    throw new VendorError('refused', 'This request has been answered already, perhaps in another tab.')
  }

  /** Kept before anything is sent, so that accepting twice (a lost answer, a crash) cuts one allowance. */
  async function grantFor(
    request: JoinRequestView,
    { name, fundMsat, wallet }: Parameters<Vendor['accept']>[1],
  ): Promise<Grant | undefined> {
    if (!wallet || fundMsat === 0) return undefined
    const home = `grant/${request.walletClient}`
    const kept = v.safeParse(grantSchema, await store.get(home))
    if (kept.success) return kept.output
    const askedHome = `grant-asked/${request.walletClient}`
    const read = v.safeParse(askedSchema, await store.get(askedHome))
    const before = (read.success ? read.output : []).filter(
      (one) => one.name !== name || one.limit !== fundMsat,
    )
    // The latest words first, then those whose answers may have been lost: the wallet gives a key one connection,
    // and only the words that it was made with bring the answer again.
    const asked = [{ name, limit: fundMsat }, ...before].slice(0, MAX_ASKED)
    await store.put(askedHome, JSON.stringify(asked))
    try {
      const { walletPubkey, relays } = await cut(wallet, request.walletClient, asked)
      const grant = v.parse(grantSchema, JSON.stringify({ walletPubkey, relays }))
      await store.put(home, JSON.stringify(grant))
      await store.delete(askedHome)
      return grant
    } catch (cause) {
      if (!(cause instanceof WalletError)) throw cause
      throw new VendorError('wallet', `The device was not enrolled: ${cause.message}`, { cause })
    }
  }

  return {
    requests,
    heard,
    makeCode: () =>
      encodeJoinCode({
        vendor,
        nostr: key,
        relay: deps.relayUrl,
        secret: makeJoinSecret(vendor, secret, deps.nowMs(), deps.random(6)),
      }),
    async accept(id, grant) {
      const request = pending(id)
      const name = grant.name.trim().slice(0, 80) || request.name
      const wallet = await grantFor(request, { ...grant, name })
      const content: JoinAccept = { v: 1, vendor, name, ...(wallet ? { wallet } : {}) }
      const nowMs = deps.nowMs()
      const nowS = Math.floor(nowMs / 1000)
      const template = { kind: JOIN_ACCEPT, created_at: nowS, tags: [], content: JSON.stringify(content) }
      try {
        await pool.publish(wrap(template, secret, request.device, { nowS }), { timeoutMs: 20_000 })
      } catch (cause) {
        const text =
          'The relay did not take the answer to the device. Accept it again; its allowance is kept.'
        throw new VendorError('unreachable', text, { cause })
      }
      // Last: until it is on the roster the request stays here, and accepting again is harmless.
      await roster.edit((before: Roster) =>
        enrol(before, { key: request.device, name, hardware: request.hardware, enrolledAt: nowMs }),
      )
    },
    async decline(id) {
      pending(id)
      declined = [...declined, id].slice(-MAX_DECLINED)
      show()
      await store.put(declinedHome, JSON.stringify(declined))
    },
    close: endRoster,
  }
}

/** Cuts the allowance, or finds the one that an earlier asking has cut. @throws the wallet's first refusal */
async function cut(
  wallet: Wallet,
  client: PartyKey,
  asked: readonly Asked[],
): ReturnType<Wallet['createConnection']> {
  let refusal: WalletError | undefined
  for (const { name, limit } of asked) {
    try {
      const may = new Set(['pay', 'receive'] as const)
      return await wallet.createConnection({ client, name, limit, isolated: true, renewal: 'never', may })
    } catch (error) {
      // `other` is what NIP-47 has for "this key has one already".
      if (!(error instanceof WalletError) || error.code !== 'other') throw error
      refusal ??= error
    }
  }
  throw refusal ?? new WalletError('other', 'There was nothing to ask for.')
}
