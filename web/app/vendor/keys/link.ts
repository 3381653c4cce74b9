/** The link that asks a colleague for a signature: `/keys#sign=VENDOR.PROPOSAL`. Both are hashes; it holds no secret. */
import { parseSha256Hex, type Sha256Hex, type VendorId } from '../../../core/bytes.ts'
import { href } from '../../shell/router.svelte.ts'

export type SignLink = Readonly<{ vendor: VendorId; id: Sha256Hex }>

/** Of the fragment's value; anything else is no link. */
export function parseSignLink(value: string | undefined): SignLink | undefined {
  const [vendor, id, ...more] = (value ?? '').split('.').map(parseSha256Hex)
  return vendor && id && more.length === 0 ? { vendor: vendor as VendorId, id } : undefined
}

export const signLink = ({ vendor, id }: SignLink, origin: string): string =>
  `${origin}${href.keys}#sign=${vendor}.${id}`
