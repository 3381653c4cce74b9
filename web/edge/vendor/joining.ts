/** Enrolling devices: join codes, requests, acceptance with a funded allowance (ARCHITECTURE.md "Joining"). */
import * as v from 'valibot'
import type { PartyKey, VendorId } from '../../core/bytes.ts'
import type { Msat } from '../../core/money/msat.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { JOIN_ACCEPT } from '../../core/nostr/kinds.ts'
import { deviceCode, encodeJoinCode } from '../../core/rollout/join.ts'
import { checkJoinSecret, makeJoinSecret } from '../../core/rollout/join-secret.ts'
import { joinRequestSchema, type JoinAccept, type Roster } from '../../core/rollout/messages.ts'
import { enrol } from '../../core/rollout/roster.ts'
import { wrap, type Rumour } from '../nostr/nip59.ts'
import type { Wallet } from '../wallet/wallet.ts'
import { VendorError, type Given, type JoinRequestView, type Vendor, type VendorDeps } from './api.ts'
import { grantFor, type Grant } from './grants.ts'
import type { RosterSync } from './roster-sync.ts'

/** Requests shown; uninvited ones are the first to go. */
const MAX_PENDING = 200
const MAX_UNINVITED = 20
/** Devices whose requests are remembered: keys are free, so one that was not invited makes room for any other. */
const MAX_HEARD = 2000
const MAX_DECLINED = 500
/** A device that was declined goes on asking each minute; so long it is not shown again. */
const DECLINED_MS = 86_400_000

/** By device: when, Unix ms. */
const declinedSchema = v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.number()))

export interface Joining {
  readonly requests: Live<readonly JoinRequestView[]>
  makeCode(): string
  /** A JOIN_REQUEST rumour came. */
  heard(rumour: Rumour): void
  accept: Vendor['accept']
  decline: Vendor['decline']
  /** Cuts an allowance for a device that is enrolled without one, and tells it. Again: the same allowance, told again. */
  give(
    to: Readonly<{ device: PartyKey; client: PartyKey; name: string }>,
    fundMsat: Msat,
    wallet: Wallet,
  ): Promise<Given>
  close(): void
}

export function createJoining(deps: VendorDeps, vendor: VendorId, roster: RosterSync): Joining {
  const { keys, store, pool } = deps
  const { key, secret } = keys.nostr
  const latest = new Map<PartyKey, JoinRequestView>()
  const requests = liveCell<readonly JoinRequestView[]>([])
  let declined: Readonly<Record<string, number>> = {}
  const declinedHome = `declined/${vendor}`
  void store.get(declinedHome).then(
    (text) => {
      const kept = v.safeParse(declinedSchema, text)
      if (kept.success) declined = { ...kept.output, ...declined }
      show()
    },
    () => undefined,
  )

  function show(): void {
    const members = new Map(roster.roster.get().devices.map((one) => [one.key, one]))
    const open = [...latest.values()].filter((request) => {
      const declinedAt = declined[request.device]
      // By its clock or by this one: a device whose clock is ahead stays away as long as others.
      if (declinedAt !== undefined && Math.min(request.at, deps.nowMs()) < declinedAt + DECLINED_MS)
        return false
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
    if (!before && latest.size >= MAX_HEARD && !makeRoom()) return
    latest.set(rumour.pubkey, {
      id: rumour.id,
      device: rumour.pubkey,
      code: deviceCode(rumour.pubkey),
      name: name.trim() || rumour.pubkey.slice(0, 8),
      hardware,
      walletClient,
      at,
      // Codes that were made before the key was replaced hold.
      invited: [keys.nostr, ...(keys.formerNostr ?? [])].some((own) =>
        checkJoinSecret(shown, vendor, own.secret, at),
      ),
    })
    show()
  }

  function makeRoom(): boolean {
    for (const { device, invited } of latest.values()) if (!invited) return latest.delete(device)
    return false
  }

  function pending(id: string): JoinRequestView {
    const request = requests.get().find((one) => one.id === id)
    if (request) return request
    throw new VendorError('refused', 'This request has been answered already, perhaps in another tab.')
  }

  async function answer(device: PartyKey, name: string, wallet: Grant | undefined): Promise<void> {
    const content: JoinAccept = { v: 1, vendor, name, ...(wallet ? { wallet } : {}) }
    const nowS = Math.floor(deps.nowMs() / 1000)
    const template = { kind: JOIN_ACCEPT, created_at: nowS, tags: [], content: JSON.stringify(content) }
    try {
      await pool.publish(wrap(template, secret, device, { nowS }), { timeoutMs: 20_000 })
    } catch (cause) {
      const text = 'The relay did not take the answer to the device. Try again; its allowance is kept.'
      throw new VendorError('unreachable', text, { cause })
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
    async accept(id, { name: said, fundMsat, wallet: source }) {
      const request = pending(id)
      const name = said.trim().slice(0, 80) || request.name
      const wanted = { client: request.walletClient, name, limit: fundMsat }
      const granted = source && fundMsat > 0 ? await grantFor(store, wanted, source) : undefined
      await answer(request.device, name, granted?.grant)
      const nowMs = deps.nowMs()
      // Last: until it is on the roster the request stays here, and accepting again is harmless.
      await roster.edit((before: Roster) =>
        enrol(before, { key: request.device, name, hardware: request.hardware, enrolledAt: nowMs }),
      )
    },
    async decline(id) {
      const { device } = pending(id)
      const latest = Object.entries(declined).sort(([, a], [, b]) => b - a)
      declined = { ...Object.fromEntries(latest.slice(0, MAX_DECLINED - 1)), [device]: deps.nowMs() }
      show()
      await store.put(declinedHome, JSON.stringify(declined))
    },
    async give({ device, client, name }, fundMsat, wallet) {
      const { grant, given } = await grantFor(store, { client, name, limit: fundMsat }, wallet)
      await answer(device, name, grant)
      return given
    },
    close: endRoster,
  }
}
