/** The built PWA: strict CSP, hashed assets cached for good, page routes answered with the shell. */
import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { extname, join, resolve, sep } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { HttpError, type Handler } from './http.ts'

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.webmanifest': 'application/manifest+json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.woff2': 'font/woff2',
  '.wasm': 'application/wasm',
  '.txt': 'text/plain; charset=utf-8',
  '.map': 'application/json',
}
const COMPRESSED = new Set(['.html', '.js', '.mjs', '.css', '.json', '.webmanifest', '.svg', '.txt', '.wasm'])
const MAX_FILE_BYTES = 32 * 1024 * 1024
/** Files kept in memory, together. */
const MAX_KEPT_BYTES = 64 * 1024 * 1024

type Kept = Readonly<{
  stamp: string
  body: Buffer<ArrayBuffer>
  gzipped?: Buffer<ArrayBuffer>
  etag: string
}>

/** What a page may do. Scripts are our files only; connections go to any relay, tracker or mirror that a release names. */
function contentSecurityPolicy(inlineScriptHashes: readonly string[]): string {
  const scripts = ["'self'", "'wasm-unsafe-eval'", ...inlineScriptHashes.map((hash) => `'sha256-${hash}'`)]
  return [
    "default-src 'none'",
    `script-src ${scripts.join(' ')}`,
    "worker-src 'self' blob:",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self'",
    "connect-src 'self' ws: wss: http: https: blob:",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

const pageHeaders = (html: string): Record<string, string> => ({
  'content-security-policy': contentSecurityPolicy(inlineScripts(html)),
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin-allow-popups',
  'permissions-policy': 'camera=(self), microphone=(), geolocation=()',
  'x-frame-options': 'DENY',
})

const inlineScripts = (html: string): string[] =>
  [...html.matchAll(/<script(?![^>]*\bsrc=)[^>]*>([\s\S]*?)<\/script>/g)].map(([, code = '']) =>
    createHash('sha256').update(code).digest('base64'),
  )

const NOT_BUILT = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Satpatch relay</title>
<body style="font: 1.1rem/1.5 system-ui; max-width: 36rem; margin: 15vh auto; padding: 0 1rem">
<h1>The relay runs</h1><p>Its pages have not been built yet. Run <code>npm run build</code> in the project's
directory and reload this page. Devices and the command line work already.</p></body></html>`

/** `dir` is `dist/web`. Anything that is not a file and looks like a page gets `index.html`. */
export function createStatic(dir: string): Handler {
  const root = resolve(dir)
  const kept = new Map<string, Kept>()
  let keptBytes = 0

  async function load(path: string): Promise<Kept | undefined> {
    const info = await stat(path).catch(() => undefined)
    if (!info?.isFile() || info.size > MAX_FILE_BYTES) return undefined
    const stamp = `${info.mtimeMs}:${info.size}`
    const old = kept.get(path)
    if (old?.stamp === stamp) return old
    const body = await readFile(path)
    const etag = `"${createHash('sha256').update(body).digest('hex').slice(0, 24)}"`
    const small = COMPRESSED.has(extname(path)) && body.length > 1024
    const file: Kept = { stamp, body, etag, ...(small ? { gzipped: await promisify(gzip)(body) } : {}) }
    if (keptBytes + body.length * 2 > MAX_KEPT_BYTES) {
      kept.clear()
      keptBytes = 0
    }
    kept.set(path, file)
    keptBytes += body.length * 2
    return file
  }

  return async (request) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      throw new HttpError(405, 'method-not-allowed', `${request.method} is not possible here.`)
    }
    const wanted = pathOf(request.url)
    const path = wanted === undefined ? undefined : resolve(root, `.${wanted}`)
    if (path === undefined || !(path + sep).startsWith(root + sep)) throw notFound()
    let file = path === root ? undefined : await load(path)
    let name = path
    if (!file) {
      if (extname(path) in types) throw notFound() // a page's address may hold a version, with dots
      name = join(root, 'index.html')
      file = await load(name)
      if (!file) return notBuilt()
    }
    return respond(request, name.slice(root.length), file)
  }
}

const notFound = () => new HttpError(404, 'not-found', 'There is nothing at this address.')

function notBuilt(): Response {
  const headers = { 'content-type': types['.html']!, 'cache-control': 'no-store', ...pageHeaders(NOT_BUILT) }
  return new Response(NOT_BUILT, { status: 503, headers })
}

function pathOf(url: string): string | undefined {
  try {
    const path = decodeURIComponent(new URL(url).pathname)
    return path.includes('\0') ? undefined : path
  } catch {
    return undefined
  }
}

function respond(request: Request, name: string, file: Kept): Response {
  const extension = extname(name)
  const hashed = name.startsWith(`${sep}assets${sep}`)
  const headers = new Headers({
    'content-type': types[extension] ?? 'application/octet-stream',
    'cache-control': hashed ? 'public, max-age=31536000, immutable' : 'no-cache',
    etag: file.etag,
    'referrer-policy': 'no-referrer',
    vary: 'accept-encoding',
  })
  if (extension === '.html') {
    for (const [key, value] of Object.entries(pageHeaders(file.body.toString('utf8'))))
      headers.set(key, value)
  } else if (extension === '.js' || extension === '.mjs') {
    headers.set('content-security-policy', contentSecurityPolicy([])) // workers bring their own
  }
  if (request.headers.get('if-none-match') === file.etag) return new Response(null, { status: 304, headers })
  const zipped = file.gzipped && /\bgzip\b/.test(request.headers.get('accept-encoding') ?? '')
  if (zipped) headers.set('content-encoding', 'gzip')
  const body = zipped ? file.gzipped! : file.body
  headers.set('content-length', String(body.length))
  return new Response(body, { headers })
}
