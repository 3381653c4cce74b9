/** Who may change state from a browser: only pages of this relay, reached under a name that is its own. */
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { HttpError } from './http.ts'

/** `host` without its port; IPv6 without brackets. */
export const hostName = (host: string): string =>
  host.startsWith('[') ? host.slice(1, host.indexOf(']')) : host.replace(/:\d+$/, '')

/** A name that no stranger can point at this machine (DNS rebinding): literal addresses, local names, the public one. */
export function isOwnHost(host: string, publicUrl: string | undefined): boolean {
  const name = hostName(host).toLowerCase()
  if (isIP(name) !== 0 || name === 'localhost' || name.endsWith('.localhost') || name.endsWith('.local'))
    return true
  if (name === hostname().toLowerCase()) return true
  return publicUrl !== undefined && new URL(publicUrl).hostname.toLowerCase() === name
}

/** @throws HttpError when another site's page, or a page under a foreign name, makes this request. */
export function requireSameOrigin(request: Request, publicUrl: string | undefined): void {
  const host = request.headers.get('host') ?? ''
  if (!isOwnHost(host, publicUrl)) {
    const text = `This relay does not know itself as "${host.slice(0, 100)}". Start it with --public-url if that is its name.`
    throw new HttpError(403, 'foreign-host', text)
  }
  const origin = request.headers.get('origin')
  const site = request.headers.get('sec-fetch-site')
  const foreign = origin !== null && !sameHost(origin, host) && origin !== publicUrl?.replace(/\/$/, '')
  if (foreign || site === 'cross-site') {
    throw new HttpError(
      403,
      'foreign-origin',
      "Only this relay's own pages may do this. Open the relay's address.",
    )
  }
}

function sameHost(origin: string, host: string): boolean {
  try {
    return new URL(origin).host === host
  } catch {
    return false
  }
}
