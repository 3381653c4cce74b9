/** A small router on the history API. Links are ordinary `<a href>`; the shell hands clicks to `follow`. */

export type Route =
  | { page: 'home' }
  | { page: 'vendor' }
  | { page: 'release'; path: string }
  | { page: 'device'; key: string }
  | { page: 'devices' }
  | { page: 'keys' }
  | { page: 'seed' }
  | { page: 'wallet' }
  | { page: 'shop' }
  | { page: 'settings' }
  | { page: 'missing' }

const segment = (text: string): string => text.split('/').map(encodeURIComponent).join('/')

export const href = {
  vendor: '/vendor',
  devices: '/vendor/devices',
  keys: '/keys',
  seed: '/seed',
  wallet: '/wallet',
  shop: '/shop',
  settings: '/settings',
  release: (path: string): string => `/vendor/release/${segment(path)}`,
  device: (key: string): string => `/vendor/device/${key}`,
}

/** Where a path leads. Release paths may hold any character; a device is a key of 64 hex digits. */
export function parseRoute(pathname: string): Route {
  const path = pathname.length > 1 ? pathname.replace(/\/+$/, '') : pathname
  switch (path) {
    case '':
    case '/':
      return { page: 'home' }
    case '/vendor':
      return { page: 'vendor' }
    case '/vendor/devices':
      return { page: 'devices' }
    case '/keys':
    case '/vendor/keys':
      return { page: 'keys' }
    case '/seed':
      return { page: 'seed' }
    case '/wallet':
      return { page: 'wallet' }
    case '/shop':
      return { page: 'shop' }
    case '/settings':
      return { page: 'settings' }
  }
  const release = /^\/vendor\/release\/(.+)$/.exec(path)?.[1]
  if (release !== undefined) {
    try {
      return { page: 'release', path: decodeURIComponent(release) }
    } catch {
      return { page: 'missing' }
    }
  }
  const key = /^\/vendor\/device\/([0-9a-f]{64})$/.exec(path)?.[1]
  return key === undefined ? { page: 'missing' } : { page: 'device', key }
}

class Router {
  #url = $state.raw(new URL('http://localhost/'))
  readonly route = $derived(parseRoute(this.#url.pathname))
  readonly query = $derived(this.#url.searchParams)

  /** Follows the address bar; call once. */
  start(): void {
    this.#url = new URL(location.href)
    addEventListener('popstate', () => (this.#url = new URL(location.href)))
  }

  go(to: string, options: { replace?: boolean } = {}): void {
    const url = new URL(to, location.href)
    history[options.replace ? 'replaceState' : 'pushState']({}, '', url)
    const samePage = url.pathname === this.#url.pathname
    this.#url = url
    if (!samePage) scrollTo(0, 0)
  }

  /** Takes a click on a link of this app; leaves every other click to the browser. */
  follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0) return
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    const link = (event.target as Element | null)?.closest('a')
    if (!link || link.target !== '' || link.hasAttribute('download') || link.origin !== location.origin)
      return
    if (link.getAttribute('href')?.startsWith('#')) return
    if (parseRoute(link.pathname).page === 'missing') return
    event.preventDefault()
    if (link.href !== location.href) this.go(link.href)
  }
}

export const router = new Router()

/**
 * Takes `#name=value` out of the address at once, so that a one-time code is never bookmarked, shared or kept in
 * the history. Undefined when the fragment holds no such name.
 */
export function takeFragment(name: string): string | undefined {
  const params = new URLSearchParams(location.hash.slice(1))
  const value = params.get(name)
  if (value === null) return undefined
  history.replaceState(history.state, '', location.pathname + location.search)
  return value
}
