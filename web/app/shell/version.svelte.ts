/**
 * The service worker. A new version of the page waits until the person lets it in: a session that signs or pays
 * is never replaced unasked.
 */
import { registerSW } from 'virtual:pwa-register'

/** How often a page that stays open asks for a new version. */
const ASK_EVERY_MS = 60 * 60 * 1000

class Version {
  waiting = $state(false)
  offlineReady = $state(false)
  #update: ((reload?: boolean) => Promise<void>) | undefined

  start(): void {
    if (!('serviceWorker' in navigator)) return
    this.#update = registerSW({
      onNeedRefresh: () => (this.waiting = true),
      onOfflineReady: () => (this.offlineReady = true),
      onRegisteredSW: (_url, registration) => {
        if (registration) setInterval(() => void registration.update().catch(() => undefined), ASK_EVERY_MS)
      },
    })
  }

  async letIn(): Promise<void> {
    await this.#update?.(true)
  }
}

export const version = new Version()
