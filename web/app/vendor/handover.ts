/** `POST /api/handover`: the encrypted backup that a one-time address stands for. Each is given out once. */
import * as v from 'valibot'
import { AppError } from '../errors.ts'

const answerSchema = v.object({ backup: v.pipe(v.string(), v.maxLength(64 * 1024)) })
const errorSchema = v.object({ error: v.object({ code: v.string(), message: v.string() }) })

/** @throws AppError with the relay's own words. */
export async function fetchHandover(code: string, fetcher: typeof fetch = fetch): Promise<string> {
  let response: Response
  try {
    response = await fetcher('/api/handover', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ code }),
      cache: 'no-store',
    })
  } catch (cause) {
    throw new AppError('unreachable', 'The relay does not answer.', { cause })
  }
  const json: unknown = await response.json().catch(() => undefined)
  const answer = v.safeParse(answerSchema, json)
  if (response.ok && answer.success) return answer.output.backup
  const error = v.safeParse(errorSchema, json)
  // A relay that was not started by the demo knows no such address.
  if (error.success && error.output.error.code !== 'not-found')
    throw new AppError(error.output.error.code, error.output.error.message)
  throw new AppError('bad-handover', 'This relay hands over no keys.')
}
