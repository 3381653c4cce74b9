/** What the install step needs to know: of the owner, never of the network process. No secret is among it. */
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { parse as parseToml } from 'smol-toml'
import * as v from 'valibot'
import { sha256HexSchema } from '../../web/core/release/target.ts'

const text = (max: number) => v.pipe(v.string(), v.nonEmpty(), v.maxLength(max))
const seconds = v.pipe(v.number(), v.safeInteger(), v.minValue(1))
const command = v.optional(v.pipe(v.string(), v.maxLength(4000)), '')

/** The same names as in the `[install]` table of device.toml. */
const commandsSchema = v.object({
  health_command: command,
  health_timeout_seconds: v.optional(seconds, 60),
  command,
  command_timeout_seconds: v.optional(seconds, 900),
  rollback_command: command,
})

export const settingsSchema = v.strictObject({
  version: v.literal(1),
  /** The vendor's id: SHA-256 of its first root. */
  vendor: sha256HexSchema,
  hardware: text(64),
  /** Empty: whatever is for the hardware. */
  products: v.optional(v.pipe(v.array(text(64)), v.maxLength(64)), []),
  /** The network process's: only finished downloads are read there. */
  data_dir: text(1000),
  /** The step's own: trusted metadata, floors, what runs. */
  state_dir: text(1000),
  /** The step's own: the slots. */
  products_dir: text(1000),
  /** Other users than the network process's own the step: files are copied in, since whoever wrote them may still write. */
  apart: v.optional(v.boolean(), false),
  /** Where it listens; empty for a child. */
  socket: v.optional(v.pipe(v.string(), v.maxLength(100)), ''),
  ...commandsSchema.entries,
})
export type InstallSettings = v.InferOutput<typeof settingsSchema>

/** The message says which file and setting, and what is wrong with it. */
export class InstallSettingsError extends Error {
  override readonly name = 'InstallSettingsError'
}

/** @throws InstallSettingsError */
export async function readSettings(file: string): Promise<InstallSettings> {
  let raw: unknown
  try {
    raw = parseToml(await readFile(file, 'utf8'))
  } catch (cause) {
    const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : 'unknown reason'
    throw new InstallSettingsError(
      `${file} cannot be read: ${why}. "satpatch device init --systemd" makes one.`,
      { cause },
    )
  }
  const parsed = v.safeParse(settingsSchema, raw)
  if (!parsed.success) {
    const [issue] = parsed.issues
    const key = (issue.path ?? []).map((item) => String(item.key)).join('.')
    throw new InstallSettingsError(`${file}: "${key}" cannot be used: ${issue.message}.`)
  }
  const at = (path: string): string => resolve(dirname(file), path)
  const { data_dir, state_dir, products_dir } = parsed.output
  return {
    ...parsed.output,
    data_dir: at(data_dir),
    state_dir: at(state_dir),
    products_dir: at(products_dir),
  }
}
