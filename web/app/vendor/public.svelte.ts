/** The public view of a vendor as Svelte state: no keys, nothing kept. */
import type { VendorId } from '../../core/bytes.ts'
import { createPublicView } from '../../edge/vendor/public-view.ts'
import { memoryStore } from '../../edge/release/store.ts'
import type { PublicRelease } from '../../edge/vendor/api.ts'
import type { VendorSession } from './session.svelte.ts'

class PublicState {
  name = $state('')
  releases = $state.raw<readonly PublicRelease[]>()
  trouble = $state<string>()
  #ends: (() => void)[] = []

  constructor(vendor: VendorId, session: VendorSession) {
    const view = createPublicView({
      vendor,
      relayUrl: location.origin,
      pool: session.pool,
      store: memoryStore(),
      nowMs: Date.now,
      fetch: (...args) => fetch(...args),
    })
    this.#ends = [
      view.name.subscribe((name) => (this.name = name)),
      view.releases.subscribe((releases) => {
        // The first value is empty until the mirror has answered.
        if (releases.length > 0 || this.name !== '') this.releases = releases
      }),
      view.trouble.subscribe((trouble) => (this.trouble = trouble)),
      () => view.close(),
    ]
  }

  close(): void {
    for (const end of this.#ends.splice(0)) end()
  }
}

export const publicView = (vendor: VendorId, session: VendorSession): PublicState =>
  new PublicState(vendor, session)
