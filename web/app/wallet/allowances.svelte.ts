/** The allowances of this browser: one tab runs them, the others show them and take over. Lives outside the page. */
import type { Msat } from '../../core/money/msat.ts'
import type { AllowanceId, AllowanceKeeper, KeeperView, NewAllowance } from '../../edge/allowance/api.ts'
import { openBrowserKeeper } from '../../edge/allowance/browser.ts'
import { words, type Words } from '../errors.ts'
import { rememberRunning } from './running.ts'
import { wallets } from './wallets.svelte.ts'

class Allowances {
  view = $state.raw<KeeperView>()
  trouble = $state.raw<Words>()
  readonly list = $derived(this.view?.allowances ?? [])
  #keeper: AllowanceKeeper | undefined
  #begun = false
  /** Limits on their way to the keeper: the last one of each is sent when the one before is in force. */
  readonly #moving = new Map<AllowanceId, { next: Msat | undefined }>()

  /** Called once wallets have begun, and again when they are unlocked. */
  async begin(): Promise<void> {
    // Their secrets may lie under the lock.
    if (this.#begun || wallets.lock.tag === 'locked') return
    this.#begun = true
    try {
      const { nostrUrl } = await wallets.relay()
      this.#keeper = openBrowserKeeper({ sources: wallets.open, vault: wallets.boxes, relays: [nostrUrl] })
      this.#keeper.view.subscribe((view) => this.#show(view))
    } catch (error) {
      this.trouble = words(error)
      this.#begun = false
    }
  }

  #show(view: KeeperView): void {
    const before = new Map(this.view?.sources.map(({ id, left }) => [id, left]))
    this.view = view
    // The tab that runs the allowances hears of what came back; no wallet tells it.
    for (const { id, left } of view.sources) if (before.get(id) !== left) wallets.balanceMoved(id)
    wallets.allowances = new Map(view.allowances.map(({ client, name }) => [client, name]))
    if (view.role !== 'starting')
      rememberRunning(view.allowances.some(({ home, state }) => home === 'here' && state !== 'revoked'))
  }

  /** @throws AllowanceError, also from every method below */
  create(wanted: NewAllowance): Promise<{ id: AllowanceId; connection: string }> {
    return this.#with((keeper) => keeper.create(wanted))
  }
  connection(id: AllowanceId): Promise<string> {
    return this.#with((keeper) => keeper.connection(id))
  }
  topUp(id: AllowanceId, amount: Msat): Promise<void> {
    return this.#with((keeper) => keeper.topUp(id, amount))
  }
  pause(id: AllowanceId): Promise<void> {
    return this.#with((keeper) => keeper.pause(id))
  }
  resume(id: AllowanceId): Promise<void> {
    return this.#with((keeper) => keeper.resume(id))
  }
  revoke(id: AllowanceId): Promise<void> {
    return this.#with((keeper) => keeper.revoke(id))
  }
  remove(id: AllowanceId): Promise<void> {
    return this.#with((keeper) => keeper.remove(id))
  }
  showPreimage(id: AllowanceId, preimage: string): Promise<void> {
    return this.#with((keeper) => keeper.showPreimage(id, preimage))
  }

  /** Follows a slider: what is passed over on the way is not sent. */
  async moveLimit(id: AllowanceId, limit: Msat): Promise<void> {
    const moving = this.#moving.get(id)
    if (moving) {
      moving.next = limit
      return
    }
    const mine: { next: Msat | undefined } = { next: limit }
    this.#moving.set(id, mine)
    try {
      while (mine.next !== undefined) {
        const next = mine.next
        mine.next = undefined
        await this.#with((keeper) => keeper.setLimit(id, next))
      }
    } finally {
      this.#moving.delete(id)
    }
  }

  #with<T>(run: (keeper: AllowanceKeeper) => Promise<T>): Promise<T> {
    if (this.#keeper) return run(this.#keeper)
    return Promise.reject(
      new Error('Allowances are not open yet. Check that the relay runs, then try again.'),
    )
  }
}

export const allowances = new Allowances()
