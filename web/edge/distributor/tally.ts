/** Keeps the tally of earnings: fed by the shops, rolled by the clock, written to the journal now and then. */
import type { InfoHash } from '../../core/bytes.ts'
import { noEarnings, recordPaid, recordUpload, roll, type Earnings } from '../../core/swarm/carry-earnings.ts'
import type { Journal, ShopSnapshot } from '../swarm/api.ts'
import { loadEarnings, localDay, saveEarnings } from './records.ts'

const SAVE_EVERY_MS = 1_000

export interface Tally {
  get(): Earnings
  load(): Promise<void>
  /** Counts what a shop shows; what was counted before is not counted again. */
  count(infoHash: InfoHash, shop: ShopSnapshot): void
  /** Moves bars and day on to now. */
  roll(): void
  /** A release is not carried any more; its sums stay. */
  forget(infoHash: InfoHash): void
  save(): Promise<void>
}

export function keepTally(
  deps: Readonly<{
    journal: Journal
    nowMs: () => number
    log: (event: string, detail: Readonly<Record<string, unknown>>) => void
  }>,
): Tally {
  const { journal, nowMs } = deps
  let earnings = noEarnings(localDay(nowMs()), nowMs())
  const uploaded = new Map<InfoHash, number>()
  let timer: ReturnType<typeof setTimeout> | undefined
  let saving: Promise<void> = Promise.resolve()

  const rollNow = (): void => {
    earnings = roll(earnings, localDay(nowMs()), nowMs())
  }

  function save(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    saving = saving
      .then(() => saveEarnings(journal, earnings))
      .catch((error: unknown) =>
        deps.log('earnings-not-saved', { error: error instanceof Error ? error.message : String(error) }),
      )
    return saving
  }

  return {
    get: () => earnings,
    roll: rollNow,
    save,
    forget: (infoHash) => void uploaded.delete(infoHash),
    async load() {
      earnings = await loadEarnings(journal, nowMs())
      rollNow()
    },
    count(infoHash, shop) {
      rollNow()
      const before = earnings
      const known = uploaded.get(infoHash) ?? 0
      // A shop that was made anew counts from zero again.
      earnings = recordUpload(earnings, shop.uploadedBytes - (shop.uploadedBytes < known ? 0 : known))
      uploaded.set(infoHash, shop.uploadedBytes)
      for (const sale of shop.sales) {
        if (sale.state !== 'paid') continue
        const { id, buyer, amount, pieces } = sale
        earnings = recordPaid(earnings, { id, buyer, amount, at: nowMs(), infoHash }, pieces)
      }
      if (earnings !== before) timer ??= setTimeout(() => void save(), SAVE_EVERY_MS)
    },
  }
}
