/**
 * What passes between the network process and the install step: one JSON object a line, one question at a time. The
 * step reads them as words of somebody who may lie.
 */
import type { Readable } from 'node:stream'
import * as v from 'valibot'
import { asks } from '../../web/core/rollout/install-guard.ts'
import { planSchema } from '../../web/core/rollout/lifecycle.ts'
import { sha256HexSchema } from '../../web/core/release/target.ts'
import { settingsSchema } from './settings.ts'

/** All metadata of one question; a line that is longer ends the connection. */
export const MAX_LINE_CHARS = 64 * 1024 * 1024
const MAX_FILES = 600

/** A path begins with the product's name, which is a directory's name too. */
const PRODUCT = /^[a-z0-9][a-z0-9._-]{0,63}\//
export const productOf = (path: string): string => path.slice(0, path.indexOf('/'))

const id = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const short = (max: number) => v.pipe(v.string(), v.maxLength(max))

export const questionSchema = v.object({
  id,
  ask: v.picklist(asks),
  release: v.object({ path: v.pipe(short(512), v.regex(PRODUCT)), sha256: sha256HexSchema }),
  plan: v.optional(planSchema),
  /** Signed metadata by its name in the repository. */
  files: v.optional(
    v.pipe(
      v.record(short(300), v.string()),
      v.check((files) => Object.keys(files).length <= MAX_FILES),
    ),
  ),
})
export type Question = v.InferOutput<typeof questionSchema>

const result = v.variant('tag', [
  v.object({ tag: v.literal('ok'), plan: v.exactOptional(planSchema) }),
  v.object({
    tag: v.literal('unfit'),
    reason: short(4000),
    attack: v.exactOptional(v.literal('replaced-file')),
  }),
  v.object({ tag: v.literal('stopped') }),
  /** The metadata does not let it say yes now; newer metadata may. `attack`: the name of what it refused. */
  v.object({ tag: v.literal('not-now'), reason: short(4000), attack: v.exactOptional(short(40)) }),
])
export type StepResult = v.InferOutput<typeof result>
export const answerSchema = v.object({ id, result })
export type Answer = v.InferOutput<typeof answerSchema>

/** The first line to a step that was started as a child. */
export const hireSchema = v.object({ settings: settingsSchema, handed: v.optional(v.boolean(), false) })

/** Lines that wait to be read. Whoever keeps to the order has one. */
const MAX_WAITING = 4

/**
 * Lines of `stream`, which is read on while nobody asks for them, so that its end is heard at once. A line that is too
 * long, or too many that wait, end it.
 */
export function linesOf(stream: Readable, maxChars = MAX_LINE_CHARS): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder()
  const waiting: string[] = []
  let parts: string[] = []
  let length = 0
  let ended = false
  let wake: () => void = () => undefined
  const end = (): void => {
    ended = true
    wake()
  }
  stream.on('data', (chunk: Uint8Array) => {
    const lines = decoder.decode(chunk, { stream: true }).split('\n')
    for (const [at, line] of lines.entries()) {
      length += line.length
      if (length > maxChars) return void stream.destroy()
      parts.push(line)
      if (at === lines.length - 1) break
      waiting.push(parts.join(''))
      parts = []
      length = 0
    }
    if (waiting.length > MAX_WAITING) stream.destroy()
    wake()
  })
  for (const event of ['end', 'close', 'error']) stream.once(event, end)
  return (async function* () {
    for (;;) {
      const line = waiting.shift()
      if (line !== undefined) yield line
      else if (ended) return undefined
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  })()
}

/** `undefined` for anything that is not of `schema`. */
export function readLine<const S extends v.GenericSchema>(
  schema: S,
  line: string,
): v.InferOutput<S> | undefined {
  try {
    const parsed = v.safeParse(schema, JSON.parse(line))
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}
