/** What this browser does for a release, as the page shows it; passed between tabs too. */
import type { PartyKey } from '../../core/bytes.ts'
import type { ShopSnapshot } from '../../edge/swarm/api.ts'

export type TabSeed =
  | { tag: 'starting' }
  | {
      tag: 'seeding'
      /** Unix ms. */
      sinceMs: number
      fullCopies: number
      connected: number
      /** Peers that have proven their key: devices and distributors. */
      provenKeys: readonly PartyKey[]
      shop: ShopSnapshot
    }
  /** Another tab of this browser has the seeder. */
  | { tag: 'other-tab' }
  /** The bytes are not in this browser. */
  | { tag: 'no-copy' }
  | { tag: 'stopped' }
  | { tag: 'trouble'; text: string }
