/** Allowances that the vendor's wallet cuts for devices, one for each client key whatever is asked twice. */
import * as v from 'valibot'
import { parsePartyKey, type PartyKey } from '../../core/bytes.ts'
import { msat, type Msat } from '../../core/money/msat.ts'
import type { TextStore } from '../release/store.ts'
import { WalletError, type Wallet } from '../wallet/wallet.ts'
import { VendorError, type Given } from './api.ts'

/** Askings whose answers were lost, remembered for each device. */
const MAX_ASKED = 8

const amountSchema = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.transform(msat))
const keptSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    walletPubkey: v.custom<PartyKey>((x) => typeof x === 'string' && !!parsePartyKey(x)),
    relays: v.array(v.string()),
    /** Absent in what earlier versions kept. */
    limit: v.optional(amountSchema),
  }),
)
const askedSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.array(v.object({ name: v.string(), limit: amountSchema })),
)
type Kept = v.InferOutput<typeof keptSchema>
type Asked = v.InferOutput<typeof askedSchema>[number]
/** What a device needs to use it. */
export type Grant = Pick<Kept, 'walletPubkey' | 'relays'>

/**
 * The allowance of this client key: cut now, or the one that it has. What is asked is kept before it is sent, so that
 * asking twice (a lost answer, a crash) cuts one. @throws VendorError `wallet`
 */
export async function grantFor(
  store: TextStore,
  { client, name, limit }: Readonly<{ client: PartyKey; name: string; limit: Msat }>,
  wallet: Wallet,
): Promise<{ grant: Grant; given: Given }> {
  const home = `grant/${client}`
  const kept = v.safeParse(keptSchema, await store.get(home))
  if (kept.success) return told(kept.output, true)
  const askedHome = `grant-asked/${client}`
  const read = v.safeParse(askedSchema, await store.get(askedHome))
  const before = (read.success ? read.output : []).filter((one) => one.name !== name || one.limit !== limit)
  // The latest words first, then those whose answers may have been lost: the wallet gives a key one connection,
  // and only the words that it was made with bring the answer again.
  const asked = [{ name, limit }, ...before].slice(0, MAX_ASKED)
  await store.put(askedHome, JSON.stringify(asked))
  try {
    const made = await cut(wallet, client, asked)
    await store.put(home, JSON.stringify(made.kept))
    await store.delete(askedHome)
    return told(made.kept, made.earlier)
  } catch (cause) {
    if (!(cause instanceof WalletError)) throw cause
    throw new VendorError('wallet', `The device got no allowance: ${cause.message}`, { cause })
  }
}

const told = ({ walletPubkey, relays, limit }: Kept, again: boolean): { grant: Grant; given: Given } => ({
  grant: { walletPubkey, relays },
  given: { again, ...(limit !== undefined && { amount: limit }) },
})

/** Cuts the allowance, or finds the one that an earlier asking has cut. @throws the wallet's first refusal */
async function cut(
  wallet: Wallet,
  client: PartyKey,
  asked: readonly Asked[],
): Promise<{ kept: Kept; earlier: boolean }> {
  let refusal: WalletError | undefined
  for (const [i, { name, limit }] of asked.entries()) {
    try {
      const may = new Set(['pay', 'receive'] as const)
      const request = { client, name, limit, isolated: true, renewal: 'never', may } as const
      const { walletPubkey, relays } = await wallet.createConnection(request)
      return { kept: v.parse(keptSchema, JSON.stringify({ walletPubkey, relays, limit })), earlier: i > 0 }
    } catch (error) {
      // `other` is what NIP-47 has for "this key has one already".
      if (!(error instanceof WalletError) || error.code !== 'other') throw error
      refusal ??= error
    }
  }
  throw refusal ?? new WalletError('other', 'There was nothing to ask for.')
}
