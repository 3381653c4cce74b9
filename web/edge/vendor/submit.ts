/**
 * Sending signed metadata to the relay (`POST /v/{vendor}/proposals`): it is published when enough have signed, and
 * kept under its id until then. Signing a proposal of somebody else's is the same call with one more signature.
 */
import * as v from 'valibot'
import { fromUtf8, utf8, type Bytes, type Sha256Hex, type VendorId } from '../../core/bytes.ts'
import { changesOf, type Change } from '../../core/release/changes.ts'
import {
  assess,
  filesWith,
  partsOf,
  signableBy,
  type Files,
  type Proposal,
  type Published,
} from '../../core/release/proposal.ts'
import { sha256HexSchema } from '../../core/release/target.ts'
import { keyId, LIMITS, parseEnvelope, type Signature } from '../../core/release/tuf.ts'
import { ApiError } from '../release/api.ts'
import { fetchBounded } from '../release/http.ts'
import { metadataUrl, type Verified } from '../release/mirror.ts'
import { VendorError, type Signer } from './api.ts'
import { signaturesOf } from './sign-file.ts'

const MAX_ANSWER_BYTES = 2 * (LIMITS.rootBytes + 2 * LIMITS.targetsBytes)
const UPLOAD_TIMEOUT_MS = 120_000

export type Submitted =
  | Readonly<{ tag: 'published'; targetsVersion: number }>
  | Readonly<{ tag: 'waiting'; id: Sha256Hex; needs: Proposal['needs'] }>

type Where = Readonly<{ relayUrl: string; fetch: typeof fetch; vendor: VendorId }>

const errorSchema = v.object({
  error: v.object({
    code: v.pipe(v.string(), v.maxLength(100)),
    message: v.pipe(v.string(), v.maxLength(2000)),
  }),
})
const needSchema = v.object({
  role: v.string(),
  by: v.picklist(['current root', 'next root', 'targets']),
  threshold: v.number(),
  keyids: v.array(v.string()),
  have: v.array(v.string()),
})
const answerSchema = v.variant('published', [
  v.looseObject({ published: v.literal(true), targetsVersion: v.number() }),
  v.object({ published: v.literal(false), id: sha256HexSchema, needs: v.array(needSchema) }),
])
const filesSchema = v.object({ files: v.record(v.string(), v.string()) })

async function ask(
  { relayUrl, fetch: fetcher, vendor }: Where,
  path: string,
  body?: string,
): Promise<{ status: number; json: unknown }> {
  const url = `${relayUrl.replace(/\/+$/, '')}/v/${vendor}/proposals${path}`
  const result = await fetchBounded(fetcher, url, {
    maxBytes: MAX_ANSWER_BYTES,
    timeoutMs: UPLOAD_TIMEOUT_MS,
    ...(body === undefined ? {} : { method: 'POST', body, headers: { 'content-type': 'application/json' } }),
  })
  const { host } = new URL(url)
  if (result.tag === 'failed')
    throw new ApiError('unreachable', 0, `The relay at ${host} does not answer (${result.text}). Try again.`)
  if (result.tag === 'too-long')
    throw new ApiError('bad-answer', 0, `The relay at ${host} answered with too much.`)
  let json: unknown
  try {
    json = JSON.parse(fromUtf8(result.bytes))
  } catch {
    json = undefined
  }
  if (result.status < 300 || result.status === 404) return { status: result.status, json }
  const error = v.safeParse(errorSchema, json)
  if (error.success) throw new ApiError(error.output.error.code, result.status, error.output.error.message)
  throw new ApiError(
    'bad-answer',
    result.status,
    `The relay at ${host} answered with status ${result.status}.`,
  )
}

/** @throws ApiError; status 409 when another change was published first */
export async function submitFiles(where: Where, files: Readonly<Record<string, Bytes>>): Promise<Submitted> {
  const texts = Object.fromEntries(Object.entries(files).map(([role, bytes]) => [role, fromUtf8(bytes)]))
  const { status, json } = await ask(where, '', JSON.stringify({ files: texts }))
  const answer = v.safeParse(answerSchema, json)
  if (!answer.success)
    throw new ApiError('bad-answer', status, 'The relay answered in a way this version does not know.')
  if (answer.output.published) return { tag: 'published', targetsVersion: answer.output.targetsVersion }
  return { tag: 'waiting', id: answer.output.id, needs: answer.output.needs }
}

/** `undefined`: it waits no more. @throws ApiError */
async function fetchFiles(where: Where, id: string): Promise<Files | undefined> {
  const { status, json } = await ask(where, `/${id}`)
  const answer = v.safeParse(filesSchema, json)
  if (status === 404 || !answer.success) return undefined
  return Object.fromEntries(Object.entries(answer.output.files).map(([role, text]) => [role, utf8(text)]))
}

/** What stands in a delegated role's file now, as the mirror's verified snapshot lists it. */
async function delegatedNow(
  where: Where,
  { current }: Verified,
): Promise<ReadonlyMap<string, NonNullable<ReturnType<Published['delegated']['get']>>>> {
  const out = new Map<string, NonNullable<ReturnType<Published['delegated']['get']>>>()
  for (const [file, { version }] of Object.entries(current.snapshot.signed.meta)) {
    if (file === 'targets.json') continue
    const url = metadataUrl(where.relayUrl, where.vendor, `${version}.${file}`)
    const result = await fetchBounded(where.fetch, url, { maxBytes: LIMITS.targetsBytes })
    if (result.tag !== 'ok' || result.status !== 200) continue
    const parsed = parseEnvelope('targets', result.bytes)
    if (parsed.tag === 'ok') out.set(file.replace(/\.json$/, ''), parsed.value)
  }
  return out
}

/** What is in force, for judging a proposal against it. */
export async function publishedNow(where: Where, verified: Verified): Promise<Published> {
  const { root, targets } = verified.current
  return { root: root.signed, targets, delegated: await delegatedNow(where, verified) }
}

/** A proposal as a co-signer sees it: judged here, by the rules that devices go by. */
export type OpenProposal = Readonly<{ proposal: Proposal; changes: readonly Change[] }>

/** `undefined`: it waits no more. @throws ApiError, and VendorError `untrusted` for one that is not what its id says */
export async function openProposal(
  where: Where,
  now: Published,
  id: Sha256Hex,
  nowMs: number,
): Promise<OpenProposal | undefined> {
  const files = await fetchFiles(where, id)
  if (!files) return undefined
  const verdict = assess(now, files, nowMs)
  if (verdict.tag === 'refused')
    throw new VendorError('untrusted', `Do not sign this: ${verdict.refusal.text}`)
  if (verdict.value.id !== id)
    throw new VendorError(
      'untrusted',
      'The relay shows another proposal than the link names. Do not sign it.',
    )
  return { proposal: verdict.value, changes: changesOf(now, verdict.value) }
}

/** Adds every signature that `signers` may give. @throws ApiError; VendorError `not-signer` when there is none */
export async function cosign(
  where: Where,
  { proposal }: OpenProposal,
  signers: readonly Signer[],
): Promise<Submitted> {
  const mine = signableBy(proposal, new Set(signers.map(({ key }) => keyId(key))))
  if (mine.size === 0)
    throw new VendorError('not-signer', 'No key here may sign this, or they have all signed it already.')
  const added = new Map<string, readonly Signature[]>()
  for (const [role, envelope] of partsOf(proposal)) {
    const ids = mine.get(role)
    if (ids) added.set(role, await signaturesOf(signers, envelope.canonical, new Set(ids)))
  }
  return submitFiles(where, filesWith(proposal, added))
}
