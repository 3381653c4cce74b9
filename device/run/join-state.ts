/** Where a device stands in joining: kept beside its record, so that an interrupted `init` is taken up by `run`. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { partyKeySchema } from '../../web/core/release/target.ts'
import { writeDurably } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'

const schema = v.object({
  v: v.literal(1),
  /** From the join code. A secret until it is spent. */
  secret: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)),
  /** The vendor's Nostr key as the join code names it. */
  nostr: partyKeySchema,
  relay: v.pipe(v.string(), v.maxLength(300)),
  acceptedAt: v.nullable(v.number()),
})
export type JoinState = v.InferOutput<typeof schema>

const fileOf = (dataDir: string): string => join(dataDir, 'join.json')

/** `undefined`: this device was set up without a join code. */
export async function readJoinState(dataDir: string): Promise<JoinState | undefined> {
  try {
    return v.parse(schema, JSON.parse(await readFile(fileOf(dataDir), 'utf8')))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw storageError(error, fileOf(dataDir))
  }
}

export const writeJoinState = (dataDir: string, state: JoinState): Promise<void> =>
  writeDurably(fileOf(dataDir), JSON.stringify(state))
