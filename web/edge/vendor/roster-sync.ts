/** The roster on the relay: encrypted to the vendor itself, edited by several tabs, merged by the latest word on each device. */
import * as v from 'valibot'
import type { VendorId } from '../../core/bytes.ts'
import { utf8 } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { signEvent } from '../../core/nostr/event.ts'
import { ROSTER } from '../../core/nostr/kinds.ts'
import { rosterSchema, type Roster } from '../../core/rollout/messages.ts'
import {
  emptyRoster,
  MAX_MEMBERS,
  MAX_ROSTER_BYTES,
  mergeRosters,
  sameRoster,
} from '../../core/rollout/roster.ts'
import { decryptFrom, encryptTo } from '../nostr/nip44.ts'
import { VendorError, type VendorDeps } from './api.ts'

/** Time for another tab to say the same, before this one repeats what the relay's copy lacks. */
const REPAIR_AFTER_MS = 1000

export interface RosterSync {
  readonly roster: Live<Roster>
  readonly stored: Promise<void>
  edit(change: (roster: Roster) => Roster): Promise<void>
  close(): void
}

export function syncRoster(deps: VendorDeps, vendor: VendorId): RosterSync {
  const { keys, pool, store } = deps
  const { key, secret } = keys.nostr
  const home = `roster/${vendor}`
  const cell = liveCell<Roster>(emptyRoster)
  let onRelay: Roster | undefined
  let lastCreatedAt = 0
  let repair: ReturnType<typeof setTimeout> | undefined
  let closed = false

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

  async function publish(): Promise<void> {
    const roster = cell.get()
    const text = JSON.stringify(roster)
    if (roster.devices.length > MAX_MEMBERS || utf8(text).length > MAX_ROSTER_BYTES) {
      throw new VendorError('too-large', `A fleet has at most ${MAX_MEMBERS} devices in this version.`)
    }
    lastCreatedAt = Math.max(Math.floor(deps.nowMs() / 1000), lastCreatedAt + 1)
    const template = {
      kind: ROSTER,
      created_at: lastCreatedAt,
      tags: [['d', vendor]],
      content: encryptTo(secret, key, text),
    }
    await pool.publish(signEvent(template, secret, deps.random(32)), { timeoutMs: 20_000 })
    onRelay = roster
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
  const end = pool.subscribe(
    [{ kinds: [ROSTER], authors: [key], '#d': [vendor] }],
    (event) => {
      lastCreatedAt = Math.max(lastCreatedAt, event.created_at)
      let roster: Roster | undefined
      try {
        roster = parse(decryptFrom(secret, key, event.content))
      } catch {
        return
      }
      if (!roster) return
      onRelay = roster
      void take(roster)
      clearTimeout(repair)
      // The other tab had not seen an edit of this one when it wrote: say both.
      if (!sameRoster(mergeRosters(cell.get(), roster), roster)) {
        repair = setTimeout(() => {
          if (!closed && onRelay && !sameRoster(cell.get(), onRelay)) void publish().catch(() => undefined)
        }, REPAIR_AFTER_MS)
      }
    },
    { onEose: () => markStored() },
  )

  return {
    roster: cell,
    stored: Promise.all([kept, fromRelay]).then(() => undefined),
    async edit(change) {
      const before = cell.get()
      cell.set(change(before))
      try {
        await publish()
      } catch (cause) {
        cell.set(before)
        if (cause instanceof VendorError) throw cause
        const text = 'The relay did not take the new list of devices. Nothing was changed; try again.'
        throw new VendorError('unreachable', text, { cause })
      }
      await store.put(home, JSON.stringify(cell.get())).catch(() => undefined)
    },
    close() {
      closed = true
      clearTimeout(repair)
      end()
    },
  }
}
