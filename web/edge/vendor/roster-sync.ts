/**
 * The roster on the relay: encrypted to the vendor itself, edited by several tabs, merged by the latest word on each device.
 * A long one lies there in parts; an edit writes the one that it changes.
 */
import * as v from 'valibot'
import type { VendorId } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { signEvent, tagValue, type NostrEvent } from '../../core/nostr/event.ts'
import { ROSTER } from '../../core/nostr/kinds.ts'
import { rosterSchema, type Roster } from '../../core/rollout/messages.ts'
import {
  emptyRoster,
  MAX_MEMBERS,
  mergeRosters,
  partNames,
  partsOf,
  sameRoster,
} from '../../core/rollout/roster.ts'
import { decryptFrom, encryptTo } from '../nostr/nip44.ts'
import type { Identity } from '../swarm/api.ts'
import { VendorError, type VendorDeps } from './api.ts'

/** Time for another tab to say the same, before this one repeats what the relay's copy lacks. */
const REPAIR_AFTER_MS = 1000
/** For the relay to say what it has, before this one writes over it. */
const STORED_TIMEOUT_MS = 20_000
const MERGE_AFTER_MS = 20
const PUBLISH_TIMEOUT_MS = 20_000

export interface RosterSync {
  readonly roster: Live<Roster>
  readonly stored: Promise<void>
  edit(change: (roster: Roster) => Roster): Promise<void>
  /** Puts it onto the relay for another key of the vendor's, which takes over. @throws VendorError `unreachable` */
  handOver(to: Identity): Promise<void>
  close(): void
}

export function syncRoster(deps: VendorDeps, vendor: VendorId): RosterSync {
  const { keys, pool, store } = deps
  const { key, secret } = keys.nostr
  const home = `roster/${vendor}`
  const cell = liveCell<Roster>(emptyRoster)
  /** Each part as the relay has it. */
  const onRelay = new Map<string, Roster>()
  /** Heard and not merged yet: parts come by the hundred. */
  let waiting: Roster[] = []
  let isStored = false
  let merging: ReturnType<typeof setTimeout> | undefined
  let lastCreatedAt = 0
  let repair: ReturnType<typeof setTimeout> | undefined
  let closed = false
  const tagOf = (part: string): string => (part === '' ? vendor : `${vendor}/${part}`)
  const partOf = (event: NostrEvent): string => (tagValue(event, 'd') ?? '').slice(vendor.length + 1)

  function parse(text: string): Roster | undefined {
    try {
      const parsed = v.safeParse(rosterSchema, JSON.parse(text))
      return parsed.success ? parsed.output : undefined
    } catch {
      return undefined
    }
  }

  async function take(roster: Roster): Promise<void> {
    const merged = mergeRosters(cell.get(), roster)
    if (sameRoster(merged, cell.get())) return
    cell.set(merged)
    await store.put(home, JSON.stringify(merged)).catch(() => undefined) // the relay has it too
  }

  /** Gives the parts that were written; `there` need not be written again. */
  async function put(
    roster: Roster,
    to: Identity,
    createdAt: number,
    there: ReadonlyMap<string, Roster>,
  ): Promise<(readonly [string, Roster])[]> {
    const parts = partsOf(roster)
    if (parts === undefined)
      throw new VendorError('too-large', `A fleet has at most ${MAX_MEMBERS} devices in this version.`)
    const changed = [...parts].filter(([name, part]) => !sameRoster(part, there.get(name) ?? emptyRoster))
    await Promise.all(
      changed.map(([name, part]) => {
        const template = {
          kind: ROSTER,
          created_at: createdAt,
          tags: [['d', tagOf(name)]],
          content: encryptTo(to.secret, to.key, JSON.stringify(part)),
        }
        const event = signEvent(template, to.secret, deps.random(32))
        return pool.publish(event, { timeoutMs: PUBLISH_TIMEOUT_MS })
      }),
    )
    return changed
  }

  async function publish(roster: Roster): Promise<void> {
    lastCreatedAt = Math.max(Math.floor(deps.nowMs() / 1000), lastCreatedAt + 1)
    const written = await put(roster, keys.nostr, lastCreatedAt, onRelay)
    for (const [name, part] of written) onRelay.set(name, part)
  }

  const kept = store.get(home).then(
    (text) => {
      const roster = text === undefined ? undefined : parse(text)
      if (roster) void take(roster)
    },
    () => undefined,
  )

  let markStored: () => void = () => undefined
  const fromRelay = new Promise<void>((resolve) => (markStored = resolve))

  function heard(event: NostrEvent): void {
    lastCreatedAt = Math.max(lastCreatedAt, event.created_at)
    let roster: Roster | undefined
    try {
      roster = parse(decryptFrom(secret, key, event.content))
    } catch {
      return
    }
    if (!roster) return
    onRelay.set(partOf(event), roster)
    waiting.push(roster)
    if (isStored) merging ??= setTimeout(takeWaiting, MERGE_AFTER_MS)
  }
  function takeWaiting(): void {
    merging = undefined
    if (closed || waiting.length === 0) return
    void take(mergeRosters(...waiting))
    waiting = []
    clearTimeout(repair)
    if (!lacks()) return
    // The other tab had not seen an edit of this one when it wrote: say both.
    repair = setTimeout(() => {
      if (!closed && lacks()) void publish(cell.get()).catch(() => undefined)
    }, REPAIR_AFTER_MS)
  }
  /** Where the relay has nothing, there is nothing to repair: a page that only looks writes nothing. */
  const lacks = (): boolean => onRelay.size > 0 && !sameRoster(mergeRosters(...onRelay.values()), cell.get())

  const end = pool.subscribe([{ kinds: [ROSTER], authors: [key], '#d': partNames.map(tagOf) }], heard, {
    onEose: () => {
      isStored = true
      takeWaiting()
      markStored()
    },
  })

  const stored = Promise.all([kept, fromRelay]).then(() => undefined)
  const unreachable = (cause?: unknown): VendorError => {
    const text = 'The relay did not take the new list of devices. Nothing was changed; try again.'
    return new VendorError('unreachable', text, { cause })
  }
  /** Written without it, the list would be without whom it does not know. @throws VendorError `unreachable` */
  async function whenStored(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(unreachable()), STORED_TIMEOUT_MS)
    })
    await Promise.race([stored, late]).finally(() => clearTimeout(timer))
  }

  /** One after the other; what others say meanwhile is merged, whatever becomes of this one. */
  let editing: Promise<unknown> = Promise.resolve()
  async function editNow(change: (roster: Roster) => Roster): Promise<void> {
    await whenStored()
    const next = change(cell.get())
    try {
      await publish(next)
    } catch (cause) {
      throw cause instanceof VendorError ? cause : unreachable(cause)
    }
    await take(next)
  }

  return {
    roster: cell,
    stored,
    edit(change) {
      const edited = editing.then(() => editNow(change))
      editing = edited.catch(() => undefined)
      return edited
    },
    async handOver(to) {
      await whenStored()
      try {
        await put(cell.get(), to, Math.floor(deps.nowMs() / 1000), new Map())
      } catch (cause) {
        const text =
          'The relay did not take the list of devices for the new key. Nothing was changed; try again.'
        throw new VendorError('unreachable', text, { cause })
      }
    },
    close() {
      closed = true
      clearTimeout(repair)
      clearTimeout(merging)
      end()
    },
  }
}
