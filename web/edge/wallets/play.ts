/**
 * The play-money accounts that the Seed and Releases pages open by themselves. Their connections lie in the vault under
 * the browser's key, which needs nobody: seeding goes on after a reload.
 */
import { sha256Hex, utf8 } from '../../core/bytes.ts'
import type { Money } from '../../core/money/msat.ts'
import { parseConnection } from '../../core/wallet/connection.ts'
import type { Vault } from '../vault/vault.ts'

/** Where a connection may lie in clear, from an earlier version. */
export type ClearPlace = Readonly<{ get(): Promise<string | undefined>; delete(): Promise<void> }>

/** The pages that open one. */
export const PLAY_PAGES = ['seed', 'releases'] as const
export type PlayPage = (typeof PLAY_PAGES)[number]
/** `id` names it among the wallets of this browser: of the same length whatever it is kept under. */
export type PlayAccount = Readonly<{ id: string; page: PlayPage; entry: string }>

const PREFIX = 'play/'
const SEED = 'seed'
/** What the Seed page's first account was kept under by earlier versions, whatever its relay. */
const SEED_ONLY = PREFIX + SEED
/** Under the money that it is in: another relay's play money is another account. */
export const moneyPlace = (money: Money): string => `wallet/${money.replace(/[^A-Za-z0-9]/g, '-')}`
export const seedPlay = (money: Money): string => `${SEED}/${moneyPlace(money)}`
/** `vendor` tells those of one browser apart. */
export const releasesPlay = (vendor: string, money: Money): string => `${vendor}/${moneyPlace(money)}`

/** What is kept under `name`; one that lies in clear is moved in first. @throws VaultError `damaged` */
export async function keptPlay(vault: Vault, name: string, clear: ClearPlace): Promise<string | undefined> {
  const open = await clear.get()
  if (open !== undefined) {
    await keepPlay(vault, name, open)
    await clear.delete()
  }
  return vault.get(PREFIX + name)
}

/**
 * The Seed page's account at the relay of this money. One of another relay is left where it is: that relay may come
 * back. @throws VaultError `damaged`
 */
export async function keptSeedPlay(
  vault: Vault,
  money: Money,
  clear: ClearPlace,
): Promise<string | undefined> {
  const first = await keptPlay(vault, SEED, clear).catch(() => undefined)
  const own = await vault.get(PREFIX + seedPlay(money))
  return own ?? (first !== undefined && isOf(first, money) ? first : undefined)
}

/** A relay's key names its play money, and is its wallet service's. */
function isOf(connection: string, money: Money): boolean {
  const parsed = parseConnection(connection)
  return parsed.ok && money === `sandbox:${parsed.connection.wallet}`
}

export const keepPlay = (vault: Vault, name: string, connection: string): Promise<void> =>
  vault.put(PREFIX + name, connection, 'browser')

/** All that the pages keep, that of the Seed page first. */
export async function playAccounts(vault: Vault): Promise<readonly PlayAccount[]> {
  const accounts = (await vault.entries()).flatMap(({ name }): PlayAccount[] => {
    if (!name.startsWith(PREFIX)) return []
    const page = name === SEED_ONLY || name.startsWith(`${SEED_ONLY}/`) ? 'seed' : 'releases'
    return [{ id: `page-${sha256Hex(utf8(name)).slice(0, 32)}`, page, entry: name }]
  })
  return accounts.sort((a, b) => PLAY_PAGES.indexOf(a.page) - PLAY_PAGES.indexOf(b.page))
}

/** Whether it can be an account at the relay of this money; undefined while that is not known. */
export function mayBeIn({ page, entry }: PlayAccount, money: Money | undefined): boolean {
  if (entry === SEED_ONLY) return true // its connection tells
  return money === undefined ? page === 'seed' : entry.endsWith(`/${moneyPlace(money)}`)
}
/** The same, of what is kept there. */
export const mayBeOf = ({ entry }: PlayAccount, connection: string, money: Money | undefined): boolean =>
  entry !== SEED_ONLY || money === undefined || isOf(connection, money)
