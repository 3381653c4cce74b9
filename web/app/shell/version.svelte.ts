/**
 * The service worker. A new version of the page waits until the person lets it in: a session that signs or pays
 * is never replaced unasked, also not when another tab lets the new version in.
 */
import type { RegisterSWOptions } from 'vite-plugin-pwa/types'

/** How often a page that stays open asks for a new version. */
const ASK_EVERY_MS = 60 * 60 * 1000

/** `registerSW` of `virtual:pwa-register`; gives the function that ends the waiting. */
export type Register = (options: RegisterSWOptions) => (reload?: boolean) => Promise<void>

export class Version {
  waiting = $state(false)
  offlineReady = $state(false)
  #update: ReturnType<Register> | undefined
  #letIn = false
  /** Another tab let the new worker in: it serves this tab too, which runs the old page until it is reloaded. */
  #superseded = false
  readonly #reload: () => void

  constructor(reload = () => location.reload()) {
    this.#reload = reload
  }

  start(register: Register): void {
    this.#update = register({
      onNeedRefresh: () => (this.waiting = true),
      // Without this every tab that knew of the new version would be reloaded, whoever asked for it.
      onNeedReload: () => {
        if (this.#letIn) return this.#reload()
        this.#superseded = true
        this.waiting = true
      },
      onOfflineReady: () => (this.offlineReady = true),
      onRegisteredSW: (_url, registration) => {
        if (registration) setInterval(() => void registration.update().catch(() => undefined), ASK_EVERY_MS)
      },
    })
  }

  async letIn(): Promise<void> {
    this.#letIn = true
    if (this.#superseded) return this.#reload()
    await this.#update?.(true)
  }
}

export const version = new Version()
