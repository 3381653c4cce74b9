/**
 * Hands an encrypted backup of the vendor's keys to the first browser that knows its one-time code
 * (`POST /api/handover`). Only there when the relay was started with a handover file, as the demo does.
 */
import { timingSafeEqual } from 'node:crypto'
import { readFile, rename, rm } from 'node:fs/promises'
import * as v from 'valibot'
import { sha256Hex, utf8 } from '../web/core/bytes.ts'
import { sha256HexSchema } from '../web/core/release/target.ts'
import { codeOf } from './errors.ts'
import { HttpError, json, readJson, type Route } from './http/http.ts'
import { requireSameOrigin } from './http/origin.ts'
import { createAddressBuckets } from './http/rate.ts'

const MAX_BODY_BYTES = 1024
const MAX_BACKUP_CHARS = 64 * 1024
/** Tries by one address: at once, and again over ten minutes. The code itself has 128 bits. */
const TRIES = 20
const TRIES_PERIOD_S = 600

const requestSchema = v.object({ code: v.pipe(v.string(), v.minLength(1), v.maxLength(200)) })
const fileSchema = v.object({
  /** SHA-256 of the code. */
  codeHash: sha256HexSchema,
  /** Encrypted with the code as its passphrase: the relay cannot read it. */
  backup: v.pipe(v.string(), v.maxLength(MAX_BACKUP_CHARS)),
})
export type HandoverFile = v.InferOutput<typeof fileSchema>

export type HandoverDeps = Readonly<{ file: string; publicUrl: string | undefined; nowMs: () => number }>

/** The route. The file is read when it is asked for, and removed before its content is given away. */
export function handoverRoutes({ file, publicUrl, nowMs }: HandoverDeps): Route[] {
  const tries = createAddressBuckets(TRIES / TRIES_PERIOD_S, TRIES, nowMs)
  const refused = () =>
    new HttpError(404, 'bad-handover', 'This address has been used already, or its code is wrong.')
  return [
    {
      method: 'POST',
      pattern: '/api/handover',
      async handler(request, { address }) {
        requireSameOrigin(request, publicUrl)
        if (!tries.take(address))
          throw new HttpError(
            429,
            'rate-limited',
            'That was too often for now. Wait ten minutes and try again.',
          )
        const body = v.safeParse(requestSchema, await readJson(request, MAX_BODY_BYTES))
        if (!body.success) throw new HttpError(400, 'malformed', 'Send {"code": "…"}.')
        const waiting = await readHandover(file)
        if (waiting === undefined || !sameHash(sha256Hex(utf8(body.output.code)), waiting.codeHash))
          throw refused()
        if (!(await take(file))) throw refused() // another request was a moment faster
        return json({ backup: waiting.backup })
      },
    },
  ]
}

const sameHash = (a: string, b: string): boolean => timingSafeEqual(Buffer.from(a), Buffer.from(b))

async function readHandover(file: string): Promise<HandoverFile | undefined> {
  try {
    const parsed = v.safeParse(fileSchema, JSON.parse(await readFile(file, 'utf8')))
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}

/** Whether this call is the one that took the file: a rename succeeds once. */
async function take(file: string): Promise<boolean> {
  const taken = `${file}.taken`
  try {
    await rename(file, taken)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
  await rm(taken, { force: true })
  return true
}
