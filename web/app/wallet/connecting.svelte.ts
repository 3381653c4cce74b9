/** One attempt to add a wallet: the text, what it is, the step it is at, and the lock if real money needs one. */
import { recognise } from '../../core/wallet/pasted.ts'
import type { Opening } from '../../edge/vault/vault.ts'
import { connectNwc } from '../../edge/wallet/nwc.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'
import { connectWallet, type Step } from '../../edge/wallets/connect.ts'
import { words, type Words } from '../errors.ts'
import { chooseFromMore } from './more-wallets.ts'
import { needsLock, openWebLn, wallets, type Found } from './wallets.svelte.ts'
import { connectionInWords, isLocal, misplaced, wrongRelay } from './words.ts'

export type ConnectState =
  | { tag: 'choosing' }
  /** Another dialog, which ours would cover, asks the person. */
  | { tag: 'elsewhere' }
  | { tag: 'connecting'; step: Step | 'done' }
  /** The wallet answered; its secret waits for a lock to lie under. */
  | { tag: 'locking'; found: Found }
  | { tag: 'failed'; step: Step; trouble: Words }
  | { tag: 'done'; id: string; name: string }

export class Connecting {
  text = $state('')
  state = $state.raw<ConnectState>({ tag: 'choosing' })
  readonly pasted = $derived(recognise(this.text))
  /** Why the text is not what is wanted; at once, before anything is sent. */
  readonly fault = $derived(misplaced(this.pasted, 'connect') ?? this.#known ?? this.#relay)
  /** What the connection holds, in words. */
  readonly told = $derived(
    this.pasted.tag === 'connection'
      ? connectionInWords(this.pasted.connection, this.pasted.client)
      : undefined,
  )
  #abort: AbortController | undefined

  /** It leads back to this browser. */
  get #known(): string | undefined {
    if (this.pasted.tag !== 'connection') return undefined
    const { client } = this.pasted
    const own = wallets.allowances.get(client)
    if (own !== undefined)
      return `This is the code of your own allowance “${own}”: this browser gives it, so it is for somebody else, another browser or a device. To go one layer deeper, cut one from it.`
    const name = wallets.nameOf(client)
    return name === undefined ? undefined : `This wallet is here already, as “${name}”.`
  }
  get #relay(): string | undefined {
    if (this.pasted.tag !== 'connection') return undefined
    const { protocol, hostname } = location
    return wrongRelay(this.pasted.connection, { secure: protocol === 'https:', local: isLocal(hostname) })
  }

  async usePasted(): Promise<void> {
    if (this.pasted.tag !== 'connection' || this.fault !== undefined) return
    const { text } = this.pasted
    await this.#connect(() => connectNwc(text), 'pasted', text)
  }
  async useWebLn(): Promise<void> {
    await this.#connect(openWebLn, 'webln')
  }
  async usePlay(): Promise<void> {
    this.state = { tag: 'connecting', step: 'open' }
    try {
      const id = await wallets.openPlay('Play money')
      this.state = { tag: 'done', id, name: 'Play money' }
    } catch (error) {
      this.state = { tag: 'failed', step: 'open', trouble: words(error) }
    }
  }
  /** The list of Bitcoin Connect, which comes only now. */
  async useMore(): Promise<void> {
    const chosen = await chooseFromMore(() => (this.state = { tag: 'elsewhere' }))
    this.state = { tag: 'choosing' }
    if (!chosen) return
    if (chosen.tag === 'connection') {
      this.text = chosen.text
      await this.usePasted()
    } else await this.#connect(async () => chosen.wallet, 'session')
  }

  /** The lock was chosen or opened: keeps the wallet. @throws VaultError */
  async lockWith(opening: Opening): Promise<void> {
    if (this.state.tag !== 'locking') return
    const { found } = this.state
    if (wallets.lock.tag === 'unset') await wallets.chooseLock(opening)
    else if (wallets.lock.tag === 'locked') await wallets.unlock(opening)
    await this.#keep(found)
  }

  cancel(): void {
    this.#abort?.abort()
    if (this.state.tag === 'locking') this.state.found.wallet.close()
    this.text = ''
    this.state = { tag: 'choosing' }
  }
  again(): void {
    this.state = { tag: 'choosing' }
  }

  async #connect(open: () => Promise<Wallet>, origin: Found['origin'], connection?: string): Promise<void> {
    const abort = new AbortController()
    this.#abort = abort
    let at: Step = 'open'
    try {
      const onProgress = ({ step }: { step: Step | 'done' }): void => {
        if (step !== 'done') at = step
        if (!abort.signal.aborted) this.state = { tag: 'connecting', step }
      }
      const { wallet, info } = await connectWallet(open, onProgress, abort.signal)
      if (abort.signal.aborted) return wallet.close()
      const secret = connection === undefined ? {} : { connection }
      const found: Found = { name: info.alias || 'Wallet', origin, wallet, money: info.money, ...secret }
      if (needsLock(found) && wallets.lock.tag !== 'open') this.state = { tag: 'locking', found }
      else await this.#keep(found)
    } catch (error) {
      if (!abort.signal.aborted) this.state = { tag: 'failed', step: at, trouble: words(error) }
    }
  }

  async #keep(found: Found): Promise<void> {
    const id = await wallets.add(found)
    // Nothing that opens a wallet stays in the field.
    this.text = ''
    this.state = { tag: 'done', id, name: found.name }
  }
}
