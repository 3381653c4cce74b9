/** The wallets that a browser keeps, in its vault: names and origins beside secrets, all of it encrypted. */
import * as v from 'valibot'
import type { Money } from '../../core/money/msat.ts'
import type { Under, Vault } from '../vault/vault.ts'
import { mayBeIn, mayBeOf, playAccounts, type PlayPage } from './play.ts'

/** `play`: opened at this relay. `pasted`: a connection string. `webln`: the browser's own, which has no secret. */
export const ORIGINS = ['play', 'pasted', 'webln'] as const
export type Origin = (typeof ORIGINS)[number]

const schema = v.object({
  v: v.literal(1),
  name: v.pipe(v.string(), v.maxLength(100)),
  origin: v.picklist(ORIGINS),
  connection: v.optional(v.pipe(v.string(), v.maxLength(4096))),
  addedAtMs: v.number(),
})
/** `page`: a page opened it for itself, and it has no name of its own. */
export type KeptWallet = Readonly<
  { id: string; under: Under } & (
    | { tag: 'open'; name: string; origin: Origin; connection?: string; addedAtMs: number }
    | { tag: 'page'; page: PlayPage; connection: string }
    | { tag: 'locked' }
    | { tag: 'damaged' }
  )
>
export type NewWallet = Readonly<{ name: string; origin: Origin; connection?: string }>

const PREFIX = 'wallet/'

/**
 * All of them, oldest first; those under a closed lock without their contents. Those that pages opened for themselves
 * come last. `money` is this relay's, absent until it is known.
 */
export async function keptWallets(vault: Vault, money: Money | undefined): Promise<readonly KeptWallet[]> {
  const found: KeptWallet[] = []
  for (const { name, under } of await vault.entries()) {
    if (!name.startsWith(PREFIX)) continue
    found.push(await readWallet(vault, name.slice(PREFIX.length), under))
  }
  const addedAt = (kept: KeptWallet): number => (kept.tag === 'open' ? kept.addedAtMs : Infinity)
  found.sort((a, b) => addedAt(a) - addedAt(b) || (a.id < b.id ? -1 : 1))
  return [...found, ...(await ofPages(vault, money))]
}

async function ofPages(vault: Vault, money: Money | undefined): Promise<readonly KeptWallet[]> {
  const accounts = (await playAccounts(vault)).filter((account) => mayBeIn(account, money))
  const found = await Promise.all(
    accounts.map(async (account): Promise<KeptWallet | undefined> => {
      const { id, page, entry } = account
      const connection = await vault.get(entry).catch(() => undefined)
      if (connection === undefined) return { id, under: 'browser', tag: 'damaged' }
      return mayBeOf(account, connection, money)
        ? { id, under: 'browser', tag: 'page', page, connection }
        : undefined
    }),
  )
  return found.filter((one) => one !== undefined)
}

async function readWallet(vault: Vault, id: string, under: Under): Promise<KeptWallet> {
  if (under === 'lock' && vault.state.get().tag !== 'open') return { id, under, tag: 'locked' }
  try {
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), await vault.get(PREFIX + id))
    if (!parsed.success) return { id, under, tag: 'damaged' }
    const { name, origin, connection, addedAtMs } = parsed.output
    return {
      id,
      under,
      tag: 'open',
      name,
      origin,
      addedAtMs,
      ...(connection !== undefined && { connection }),
    }
  } catch {
    return { id, under, tag: 'damaged' }
  }
}

export async function keepWallet(
  vault: Vault,
  id: string,
  wallet: NewWallet & Readonly<{ addedAtMs: number }>,
  under: Under,
): Promise<void> {
  await vault.put(PREFIX + id, JSON.stringify({ v: 1, ...wallet }), under)
}

/** A page whose account it was opens another when it needs one. */
export async function forgetWallet(vault: Vault, id: string): Promise<void> {
  const account = (await playAccounts(vault)).find((one) => one.id === id)
  await vault.delete(account?.entry ?? PREFIX + id)
}
