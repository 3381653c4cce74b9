/** Tells the vendor where the device stands: PROGRESS events, encrypted, at most one a second, the newest only. */
import { base64 } from '@scure/base'
import type { PartyKey } from '../../web/core/bytes.ts'
import { signEvent } from '../../web/core/nostr/event.ts'
import { PROGRESS } from '../../web/core/nostr/kinds.ts'
import type { Progress } from '../../web/core/rollout/messages.ts'
import { encryptTo } from '../../web/edge/nostr/nip44.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { Logger } from '../log.ts'
import type { Ports } from './ports.ts'
import type { RecordKeeper } from './record.ts'

/** NIP-44 pads and base64 grows: the event must stay below 64 KiB. */
const MAX_PLAIN_CHARS = 32_000
const SPACING_MS = 1000
const PUBLISH_TIMEOUT_MS = 15_000
/** Sequence numbers reserved on disk at once, so that not every event costs a write. */
const SEQ_BLOCK = 1000

export interface ProgressTeller {
  /** Something changed; `urgent` for a change of state. */
  poke(urgent: boolean): void
  /** Ends when what is on its way is out. */
  stop(): Promise<void>
}

export type ProgressDeps = Readonly<{
  config: DeviceConfig
  ports: Ports
  pool: Pool
  keeper: RecordKeeper
  vendorKey: () => PartyKey | undefined
  describe: () => Promise<Omit<Progress, 'v' | 'seq' | 'at' | 'name' | 'hardware'>>
  log: Logger
}>

export function createProgressTeller(deps: ProgressDeps): ProgressTeller {
  const { config, ports, keeper } = deps
  let seq = keeper.get().seq
  let reserved = seq
  let lastCreatedS = Math.floor(ports.nowMs() / 1000) - 1
  let lastSentMs = -Infinity
  let pending: 'no' | 'soon' | 'now' = 'no'
  let timer: ReturnType<typeof setTimeout> | undefined
  let sending: Promise<void> | undefined
  let stopped = false

  async function nextSeq(): Promise<number> {
    if (seq >= reserved) {
      reserved = seq + SEQ_BLOCK
      await keeper.update((record) => ({ ...record, seq: reserved }))
    }
    return ++seq
  }

  async function send(): Promise<void> {
    const key = deps.vendorKey()
    if (key === undefined) return
    const nowMs = ports.nowMs()
    const content = fitting({
      v: 1,
      name: config.name,
      hardware: config.hardware,
      seq: await nextSeq(),
      at: nowMs,
      ...(await deps.describe()),
    })
    lastCreatedS = Math.max(lastCreatedS + 1, Math.floor(nowMs / 1000))
    const template = {
      kind: PROGRESS,
      created_at: lastCreatedS,
      tags: [
        ['d', config.vendor],
        ['p', key],
      ],
      content: encryptTo(config.identity.secret, key, content),
    }
    const event = signEvent(template, config.identity.secret, ports.randomBytes(32))
    await deps.pool.publish(event, { timeoutMs: PUBLISH_TIMEOUT_MS })
  }

  function schedule(): void {
    if (stopped || pending === 'no' || sending !== undefined || timer !== undefined) return
    const nowMs = ports.nowMs()
    // An addressable event of the same second replaces another only by chance, and one dated ahead outlives a restart.
    const dueMs = Math.max((lastCreatedS + 1) * 1000, pending === 'now' ? 0 : lastSentMs + SPACING_MS)
    const spacing = Math.min(SPACING_MS, Math.max(0, dueMs - nowMs))
    timer = setTimeout(() => {
      timer = undefined
      void flush()
    }, spacing)
  }

  async function flush(): Promise<void> {
    pending = 'no'
    lastSentMs = ports.nowMs()
    sending = send().catch((error: unknown) => {
      deps.log.debug({ reason: error instanceof Error ? error.message : String(error) }, 'progress not sent')
    })
    await sending
    sending = undefined
    schedule()
  }

  return {
    poke(urgent) {
      if (stopped) return
      if (urgent && pending !== 'now') {
        pending = 'now'
        clearTimeout(timer)
        timer = undefined
      } else if (pending === 'no') pending = 'soon'
      schedule()
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await sending
    },
  }
}

/** The newest windows and the biggest sellers go along as far as there is room. */
function fitting(progress: Progress): string {
  let text = JSON.stringify(progress)
  let release = progress.release
  while (text.length > MAX_PLAIN_CHARS && release !== undefined) {
    const { windows, sellers } = release
    if (windows.length === 0 && sellers.length <= 1) break
    release = {
      ...release,
      windows: windows.slice(Math.ceil(windows.length / 2)),
      sellers: sellers.slice(0, Math.max(1, Math.floor(sellers.length / 2))),
    }
    text = JSON.stringify({ ...progress, release })
  }
  return text
}

export const bitfieldText = (have: Uint8Array): string => base64.encode(have)
