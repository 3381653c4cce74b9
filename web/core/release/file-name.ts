/** File names that every device can store: one path segment, nothing that a shell, a disk or an eye trips over. */
import { utf8 } from '../bytes.ts'

export const MAX_NAME_BYTES = 200

export type FileNameCheck = { tag: 'ok' } | { tag: 'refused'; text: string }

const RESERVED = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)/i
// Bidirectional marks, embeddings, overrides and isolates: they show a name in another order than it has.
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u
// Blank or invisible characters besides the plain space: two names that look alike.
const INVISIBLE = /[\u00ad\u180e\u200b-\u200d\u2028\u2029\u2060-\u2064\ufeff\ufff9-\ufffb]/u

/** Spaces and any script are fine. The refusal is a sentence for the person who chose the name. */
export function checkFileName(name: string): FileNameCheck {
  const refused = (text: string): FileNameCheck => ({ tag: 'refused', text })
  if (name === '') return refused('The file has no name. Rename it and drop it again.')
  if (!name.isWellFormed()) return refused('The file name is not valid Unicode. Rename the file.')
  const bytes = utf8(name).length
  if (bytes > MAX_NAME_BYTES) {
    return refused(`The file name has ${bytes} bytes; devices store at most ${MAX_NAME_BYTES}. Shorten it.`)
  }
  if (/[/\\]/.test(name)) return refused('A file name cannot contain / or \\. Rename the file.')
  if (name === '.' || name === '..') return refused(`"${name}" names a folder, not a file. Rename the file.`)
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) {
    return refused('The file name contains a control character, such as a line break. Rename the file.')
  }
  if (BIDI.test(name))
    return refused(
      'The file name contains a mark that reverses text, which hides what it is. Rename the file.',
    )
  if (INVISIBLE.test(name)) return refused('The file name contains an invisible character. Rename the file.')
  if (/[<>:"|?*]/.test(name))
    return refused('A file name cannot contain any of < > : " | ? *. Rename the file.')
  if (name.startsWith(' ') || /[ .]$/.test(name)) {
    return refused('A file name cannot begin with a space or end with a space or a dot. Rename the file.')
  }
  if (RESERVED.test(name)) return refused(`"${name}" is a device name on some systems. Rename the file.`)
  return { tag: 'ok' }
}
