/**
 * What a keeper has on the medium, one record each: `allowance/<id>/main` terms, counters and open payments;
 * `…/past/<hash>` decided payments; `…/in/<hash>` invoices; `…/req/<event id>` answers, so that a replay changes nothing.
 * Parsed on the way in; times Unix ms.
 */
import * as v from 'valibot'
import { fromUtf8, utf8, type PartyKey, type Sha256Hex } from '../../core/bytes.ts'
import type { Allowance, Payment } from '../../core/allowance/state.ts'
import { msatSchema, sha256HexSchema } from '../../core/release/target.ts'
import { ERROR_CODES, RENEWALS } from '../../core/wallet/nip47.ts'
import type { Journal } from '../swarm/api.ts'
import type { AllowanceId, Vault } from './api.ts'

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const id = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{16}$/),
  v.transform((text) => text as AllowanceId),
)
const key = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{64}$/),
  v.transform((text) => text as PartyKey),
)
const may = v.object({ pay: v.boolean(), receive: v.boolean() })

const fateSchema = v.variant('tag', [
  v.object({ tag: v.literal('asked') }),
  v.object({ tag: v.literal('unknown'), lookUps: count, nextLookUpAtMs: count, why: v.string() }),
  v.object({ tag: v.literal('paid'), preimage: v.string(), fees: msatSchema, atMs: count }),
  v.object({ tag: v.literal('failed'), code: v.picklist(ERROR_CODES), message: v.string(), atMs: count }),
])
const paymentSchema = v.object({
  paymentHash: sha256HexSchema,
  bolt11: v.string(),
  amount: msatSchema,
  ownAmount: v.boolean(),
  maxFee: msatSchema,
  description: v.string(),
  requests: v.array(v.string()),
  attempt: count,
  askedAtMs: count,
  countedAtMs: count,
  deadAtMs: count,
  fate: fateSchema,
})

const termsSchema = v.object({
  name: v.string(),
  limit: msatSchema,
  renewal: v.picklist(RENEWALS),
  expiresAtMs: v.exactOptional(count),
  may,
  paused: v.boolean(),
  revoked: v.boolean(),
})

const metaSchema = v.object({
  id,
  home: v.picklist(['here', 'wallet']),
  source: v.variant('tag', [
    v.object({ tag: v.literal('wallet'), id: v.string() }),
    v.object({ tag: v.literal('allowance'), id }),
  ]),
  /** The holder's key, and the one that answers it. */
  client: key,
  service: key,
  relays: v.array(v.string()),
  createdAtMs: count,
  /** Its holder above asked for it (`create_connection`), whose key its holder has: there is no string to show. */
  asked: v.exactOptional(v.literal(true)),
})
/** What never changes of an allowance. */
export type Meta = Readonly<v.InferOutput<typeof metaSchema>>

const mainSchema = v.object({
  v: v.literal(1),
  meta: metaSchema,
  terms: termsSchema,
  periodStartMs: count,
  extra: msatSchema,
  spent: msatSchema,
  totalSpent: msatSchema,
  open: v.array(paymentSchema),
})

const incomingSchema = v.object({
  paymentHash: sha256HexSchema,
  bolt11: v.string(),
  amount: msatSchema,
  description: v.string(),
  hold: v.boolean(),
  state: v.picklist(['open', 'accepted', 'settled', 'cancelled']),
  createdAtMs: count,
  expiresAtMs: count,
  settledAtMs: v.exactOptional(count),
  preimage: v.exactOptional(v.string()),
})
/** An invoice that was made through an allowance. */
export type Incoming = Readonly<v.InferOutput<typeof incomingSchema>>

const answeredSchema = v.object({ at: count, response: v.string() })
export type Answered = Readonly<v.InferOutput<typeof answeredSchema>>

export type Loaded = Readonly<{ meta: Meta; state: Allowance }>

const PREFIX = 'allowance/'

export class Records {
  readonly #journal: Journal
  constructor(journal: Journal) {
    this.#journal = journal
  }

  async all(): Promise<Loaded[]> {
    const keys = (await this.#journal.keys(PREFIX)).filter((one) => one.endsWith('/main'))
    const found: Loaded[] = []
    for (const one of keys) {
      const main = await this.#read(one, mainSchema)
      if (!main) continue
      const { v: _, meta, open, ...rest } = main
      found.push({
        meta,
        state: { ...rest, open: new Map(open.map((payment) => [payment.paymentHash, payment])) },
      })
    }
    return found.sort((a, b) => a.meta.createdAtMs - b.meta.createdAtMs)
  }

  save(meta: Meta, state: Allowance): Promise<void> {
    return this.#write(`${PREFIX}${meta.id}/main`, { v: 1, meta, ...state, open: [...state.open.values()] })
  }

  archive = (of: AllowanceId, payment: Payment): Promise<void> =>
    this.#write(`${PREFIX}${of}/past/${payment.paymentHash}`, payment)
  past = (of: AllowanceId): Promise<Map<Sha256Hex, Payment>> =>
    this.#map(`${PREFIX}${of}/past/`, paymentSchema)

  saveIncoming = (of: AllowanceId, invoice: Incoming): Promise<void> =>
    this.#write(`${PREFIX}${of}/in/${invoice.paymentHash}`, invoice)
  incoming = (of: AllowanceId): Promise<Map<Sha256Hex, Incoming>> =>
    this.#map(`${PREFIX}${of}/in/`, incomingSchema)

  saveAnswer = (of: AllowanceId, request: string, answer: Answered): Promise<void> =>
    this.#write(`${PREFIX}${of}/req/${request}`, answer)
  dropAnswer = (of: AllowanceId, request: string): Promise<void> =>
    this.#journal.delete(`${PREFIX}${of}/req/${request}`)
  answers = (of: AllowanceId): Promise<Map<string, Answered>> =>
    this.#map(`${PREFIX}${of}/req/`, answeredSchema)

  /** Everything of one allowance; `main` goes first, so that half of it is never taken for all. */
  async forget(of: AllowanceId): Promise<void> {
    await this.#journal.delete(`${PREFIX}${of}/main`)
    for (const one of await this.#journal.keys(`${PREFIX}${of}/`)) await this.#journal.delete(one)
  }

  async #map<K extends string, S extends v.GenericSchema>(
    prefix: string,
    schema: S,
  ): Promise<Map<K, v.InferOutput<S>>> {
    const found = new Map<K, v.InferOutput<S>>()
    for (const one of await this.#journal.keys(prefix)) {
      const value = await this.#read(one, schema)
      if (value !== undefined) found.set(one.slice(prefix.length) as K, value)
    }
    return found
  }

  async #read<S extends v.GenericSchema>(at: string, schema: S): Promise<v.InferOutput<S> | undefined> {
    const bytes = await this.#journal.get(at)
    if (!bytes) return undefined
    try {
      const parsed = v.safeParse(schema, JSON.parse(fromUtf8(bytes)))
      return parsed.success ? parsed.output : undefined
    } catch {
      return undefined
    }
  }

  #write = (at: string, value: unknown): Promise<void> => this.#journal.put(at, utf8(JSON.stringify(value)))
}

const keysSchema = v.object({ client: v.exactOptional(v.string()), service: v.exactOptional(v.string()) })
/** Secret keys, hex; `client` only where its string was made here, `service` only where it is served from here. */
export type Keys = Readonly<v.InferOutput<typeof keysSchema>>

/** `allowance/<id>/key`: sealed by the owner's vault, if there is one. */
export class KeyRing {
  readonly #journal: Journal
  readonly #vault: Vault | undefined
  constructor(journal: Journal, vault: Vault | undefined) {
    this.#journal = journal
    this.#vault = vault
  }

  async put(of: AllowanceId, keys: Keys): Promise<void> {
    const clear = utf8(JSON.stringify(keys))
    await this.#journal.put(`${PREFIX}${of}/key`, this.#vault ? await this.#vault.seal(clear) : clear)
  }

  /** @throws what the vault throws while it is locked; `undefined`: there are none that can be read. */
  async get(of: AllowanceId): Promise<Keys | undefined> {
    const kept = await this.#journal.get(`${PREFIX}${of}/key`)
    if (!kept) return undefined
    const clear = this.#vault ? await this.#vault.open(kept) : kept
    try {
      const parsed = v.safeParse(keysSchema, JSON.parse(fromUtf8(clear)))
      return parsed.success ? parsed.output : undefined
    } catch {
      return undefined
    }
  }
}
