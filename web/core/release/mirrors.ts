/** Static hosts that a vendor names for its devices (`signed.satpatch.mirrors`). Nothing that they serve is trusted. */
import * as v from 'valibot'
import { MAX_MIRRORS, mirrorUrlSchema } from './target.ts'

export type ReadMirrors =
  Readonly<{ tag: 'ok'; mirrors: readonly string[] }> | Readonly<{ tag: 'refused'; text: string }>

/** Addresses as people type them: base URLs, under which `v/VENDOR/…` lies. Each once, without slashes at the end. */
export function readMirrors(texts: readonly string[]): ReadMirrors {
  const mirrors = new Set<string>()
  for (const text of texts) {
    const url = text.trim().replace(/\/+$/, '')
    const wrong = wrongIn(url)
    if (wrong !== undefined) return { tag: 'refused', text: `"${url.slice(0, 80)}" ${wrong}` }
    mirrors.add(url)
  }
  if (mirrors.size > MAX_MIRRORS)
    return { tag: 'refused', text: `At most ${MAX_MIRRORS} mirrors can be named.` }
  return { tag: 'ok', mirrors: [...mirrors] }
}

function wrongIn(url: string): string | undefined {
  if (/\/v\/[0-9a-f]{64}(\/|$)/.test(url)) return 'is too long: leave out /v/ and what follows.'
  const isAddress = v.safeParse(mirrorUrlSchema, url).success && URL.canParse(url)
  if (!isAddress) return 'is no address of a mirror, such as https://files.example.'
  return new URL(url).username === '' ? undefined : 'holds a name or a password, and would be public.'
}
