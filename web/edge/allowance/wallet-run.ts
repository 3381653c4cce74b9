/** An allowance that the source wallet itself runs (NIP-47 `create_connection`): the same intentions, carried out there. */
import { parsePartyKey, type PartyKey } from '../../core/bytes.ts'
import type { Allowance } from '../../core/allowance/state.ts'
import { msat, type Msat } from '../../core/money/msat.ts'
import { WalletError, type ConnectionChange, type ConnectionState, type Wallet } from '../wallet/wallet.ts'
import { AllowanceError, type NewAllowance } from './api.ts'
import type { Loaded } from './records.ts'
import type { SourceWatch } from './source-watch.ts'

export class WalletRun {
  /** What was agreed; what the wallet says stands above it. */
  loaded: Loaded
  told: ConnectionState | undefined
  readonly #save: (state: Allowance) => Promise<void>
  readonly #onChange: () => void
  #source: SourceWatch | undefined
  #unwatch: (() => void)[] = []
  #tail: Promise<void> = Promise.resolve()

  constructor(loaded: Loaded, save: (state: Allowance) => Promise<void>, onChange: () => void) {
    this.loaded = loaded
    this.#save = save
    this.#onChange = onChange
  }

  /** @throws AllowanceError */
  static async create(
    wallet: Wallet,
    client: PartyKey,
    wanted: NewAllowance,
  ): Promise<{ walletPubkey: PartyKey; relays: readonly string[] }> {
    const { name, limit, renewal, may, expiresAtMs } = wanted
    if (renewal === 'yearly')
      throw new AllowanceError('bad-terms', 'Wallets renew monthly at the longest; choose another period.')
    const request = {
      ...{ client, name: name.trim(), limit, isolated: false, renewal },
      may: new Set((['pay', 'receive'] as const).filter((what) => may[what])),
      ...(expiresAtMs !== undefined && { expiresAtMs }),
    }
    const made = await asked(wallet.createConnection(request))
    const walletPubkey = parsePartyKey(made.walletPubkey)
    if (!walletPubkey) throw new AllowanceError('wallet', 'The wallet answered with a key that is none.')
    return { walletPubkey, relays: made.relays }
  }

  useSource(source: SourceWatch | undefined): void {
    if (source === this.#source) return
    for (const end of this.#unwatch.splice(0)) end()
    this.#source = source
    if (!source) return
    let reached = false
    this.#unwatch = [
      source.wallet.onConnection((state) => {
        if (state.client === this.loaded.meta.client) this.#learn(state)
      }),
      source.state.subscribe(({ info, connected }) => {
        const back = connected && !reached
        reached = connected
        if (info?.features.has('manage-connections') && (back || this.told === undefined)) void this.refresh()
        this.#onChange()
      }),
    ]
  }

  async refresh(): Promise<void> {
    const all = await this.#source?.wallet.listConnections().catch(() => [])
    const mine = all?.find(({ client }) => client === this.loaded.meta.client)
    if (mine) this.#learn(mine)
  }

  topUp(amount: Msat): Promise<void> {
    return this.#inTurn(() =>
      this.#change({ limit: msat((this.told?.limit ?? this.loaded.state.terms.limit) + amount) }),
    )
  }

  change(change: ConnectionChange): Promise<void> {
    return this.#inTurn(() => this.#change(change))
  }

  revoke(): Promise<void> {
    return this.#inTurn(async () => {
      await asked(this.#manager().deleteConnection(this.loaded.meta.client))
      await this.#keep({ ...this.loaded.state, terms: { ...this.loaded.state.terms, revoked: true } })
    })
  }

  /** One change after the other: each begins with what the last one left. */
  #inTurn(run: () => Promise<void>): Promise<void> {
    const done = this.#tail.then(run)
    this.#tail = done.catch(() => undefined)
    return done
  }

  async #change(change: ConnectionChange): Promise<void> {
    this.#learn(await asked(this.#manager().updateConnection(this.loaded.meta.client, change)))
    const { expiresAtMs, ...rest } = change
    const { expiresAtMs: before, ...terms } = this.loaded.state.terms
    const expires = expiresAtMs ?? before
    const next = { ...terms, ...rest, ...(typeof expires === 'number' && { expiresAtMs: expires }) }
    await this.#keep({ ...this.loaded.state, terms: next })
  }

  /** The wallet that runs it, for cutting more from the same source. */
  wallet(): Wallet {
    if (this.#source) return this.#source.wallet
    throw new AllowanceError(
      'no-source',
      'The wallet that runs this allowance is not open here. Open it first.',
    )
  }

  stop(): void {
    for (const end of this.#unwatch.splice(0)) end()
  }

  #manager(): Wallet {
    const wallet = this.wallet()
    if (this.#source?.state.get().info?.features.has('manage-connections') !== false) return wallet
    throw new AllowanceError(
      'not-offered',
      'This wallet made the connection and does not let it be changed from here. Change it in the wallet itself.',
    )
  }

  #learn(state: ConnectionState): void {
    this.told = state
    this.#onChange()
  }

  async #keep(state: Allowance): Promise<void> {
    await this.#save(state)
    this.loaded = { ...this.loaded, state }
    this.#onChange()
  }
}

async function asked<T>(job: Promise<T>): Promise<T> {
  try {
    return await job
  } catch (cause) {
    if (cause instanceof WalletError) throw new AllowanceError('wallet', cause.message, { cause })
    throw cause
  }
}
