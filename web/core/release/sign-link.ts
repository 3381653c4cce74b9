/** The link that asks for a signature: `…/keys#sign=VENDOR.PROPOSAL`. Both are hashes; it holds no secret. */
import { parseSha256Hex, type Sha256Hex, type VendorId } from '../bytes.ts'

export type SignLink = Readonly<{ vendor: VendorId; id: Sha256Hex }>

/** Of a whole link, or of what stands behind `sign=`; anything else is no link. */
export function parseSignLink(text: string | undefined): SignLink | undefined {
  const value = (text ?? '').trim().replace(/^.*#sign=/, '')
  const [vendor, id, ...more] = value.split('.').map(parseSha256Hex)
  return vendor && id && more.length === 0 ? { vendor: vendor as VendorId, id } : undefined
}

/** `relay`: its base URL, without a trailing slash. */
export const signLink = ({ vendor, id }: SignLink, relay: string): string =>
  `${relay}/keys#sign=${vendor}.${id}`
