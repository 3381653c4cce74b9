/**
 * The vendor engine, composed from the parts beside it: how it starts, is admitted, and follows the relay's mirror.
 * The interface is documented in `api.ts`.
 */
import type { VendorId } from '../../core/bytes.ts'
import { keyId } from '../../core/release/tuf.ts'
import { failureText, lastVerified } from '../release/mirror.ts'
import { createAnnouncing } from './announcing.ts'
import { VendorError, type CreateVendor } from './api.ts'
import { createReaders } from './confidential.ts'
import type { Engine } from './engine.ts'
import { createMembers } from './members.ts'
import { createPublishing } from './publishing.ts'
import { emptyViews, openSession, type Session } from './session.ts'
import { createSigners } from './signers.ts'
import { admit, changeTargets, findVendor, refreshOwn, vendorStore } from './signing.ts'
import { createStanding } from './standing.ts'

/** Between attempts to reach a relay that does not answer. */
const RETRY_MS = [1000, 2000, 5000, 10_000, 30_000] as const
/** Targets hold 30 days; a page that opens with less than this left signs them again. */
const RESIGN_BELOW_MS = 20 * 86_400_000

export const createVendor: CreateVendor = (deps) => {
  const { keys, store } = deps
  const home = `vendor/${keyId(keys.rootKey).slice(0, 16)}/${deps.config.relayKey.slice(0, 16)}`
  const views = emptyViews()
  const standing = createStanding(
    deps,
    () => vendor,
    (id) => void inTurn(() => update(id)).catch(() => undefined),
  )
  const announcing = createAnnouncing(deps, standing, () => need().vendor)

  let closed = false
  let vendor: VendorId | undefined
  let session: Session | undefined
  let retry: ReturnType<typeof setTimeout> | undefined
  let queue: Promise<unknown> = Promise.resolve()

  const later = (run: () => void, attempt: number) => {
    clearTimeout(retry)
    retry = setTimeout(run, RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)])
  }

  function inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = queue.then(() => {
      if (closed) throw new VendorError('closed', 'This page is closing. Nothing was published.')
      return run()
    })
    queue = turn.catch(() => undefined)
    return turn
  }

  function need(): Session & { vendor: VendorId } {
    if (closed) throw new VendorError('closed', 'This page is closing.')
    if (session && vendor) return { ...session, vendor }
    throw new VendorError(
      'not-admitted',
      'This vendor is not admitted at the relay yet: enter the one-time code first.',
    )
  }

  async function update(id: VendorId, attempt = 0): Promise<void> {
    const result = await refreshOwn(deps, id, standing.floorVersion())
    if (closed) return
    if (result.tag === 'ok') {
      standing.adopt(result.verified)
      return
    }
    deps.log?.('vendor refresh failed', { tag: result.tag, text: failureText(result) })
    // What was verified before goes on being shown; only a page that has nothing says so.
    if (!standing.verified()) standing.status.set({ tag: 'trouble', text: failureText(result) })
    // In turn: what was published meanwhile is not taken back by an older answer.
    later(() => void inTurn(() => update(id, attempt + 1)).catch(() => undefined), attempt)
  }

  function open(id: VendorId): void {
    if (session || closed) return
    vendor = id
    session = openSession(deps, id, standing, views, {
      onPublished: () => void inTurn(engine.afterOthers).catch(() => undefined),
      onAnnouncements: () => void inTurn(announcing.announceMissing).catch(() => undefined),
    })
  }

  const engine: Engine = {
    deps,
    standing,
    announcing,
    inTurn,
    need,
    change: (run, product) =>
      changeTargets(deps, need().vendor, standing.floorVersion, run, product).catch(
        async (error: unknown) => {
          if (error instanceof VendorError && error.proposal)
            await need()
              .approvals.add(error.proposal)
              .catch(() => undefined)
          throw error
        },
      ),
    async afterOthers() {
      await update(need().vendor)
      await announcing.announceMissing()
      await announcing.tellNewest()
    },
  }
  const publishing = createPublishing(engine)

  async function start(): Promise<void> {
    const kept = await store.get(home)
    const isHere = kept !== undefined && deps.config.vendors.some(({ id }) => id === kept)
    const id = isHere ? (kept as VendorId) : ((await findVendor(deps, deps.config)) ?? deps.vendor)
    if (closed) return
    if (!id) {
      standing.status.set({ tag: 'not-admitted' })
      return
    }
    await store.put(home, id)
    const last = await lastVerified(id, vendorStore(deps, id), deps.nowMs())
    if (last) standing.adopt(last)
    open(id)
    await inTurn(() => update(id))
    const expireAt = standing.verified()?.targetsExpireAt
    if (!closed && expireAt !== undefined && expireAt - deps.nowMs() < RESIGN_BELOW_MS) {
      void publishing
        .resign()
        .catch((error: unknown) => deps.log?.('signing again failed', { text: String(error) }))
    }
  }

  async function tryToStart(attempt: number): Promise<void> {
    try {
      await start()
    } catch (error) {
      if (closed) return
      const text = error instanceof Error ? error.message : 'This page could not start.'
      standing.status.set({ tag: 'trouble', text })
      later(() => void tryToStart(attempt + 1), attempt)
    }
  }
  const ready = tryToStart(0)

  return {
    ...views,
    status: standing.status,
    releases: standing.releases,
    signing: standing.signing,
    floor: standing.floor,
    ready,
    ...publishing,
    ...createReaders(engine),
    ...createSigners(engine, () => session && vendor),
    ...createMembers(engine),

    admit: (code, name) =>
      inTurn(async () => {
        if (vendor) return vendor
        if (name.trim() === '')
          throw new VendorError('bad-form', 'Say who publishes: volunteers see this name.')
        const id = await admit(deps, code, name)
        await store.put(home, id)
        open(id)
        await update(id)
        await need().roster.edit((before) => before)
        return id
      }),

    close() {
      closed = true
      clearTimeout(retry)
      standing.close()
      session?.close()
    },
  }
}
