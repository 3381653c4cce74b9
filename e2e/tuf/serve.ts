/** Serves a repository over HTTP, as a static host would, and keeps the requests in it. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Repository } from './repository.ts'

export type Served = Readonly<{ metadataUrl: string; targetsUrl: string; stop(): Promise<void> }>

/** `prefix` stands before both folders, as some hosts have it. */
export async function serve(repository: Repository, prefix = ''): Promise<Served> {
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    const bytes = path.startsWith(prefix) ? repository.answer(path.slice(prefix.length)) : undefined
    response.writeHead(bytes ? 200 : 404, { 'content-length': bytes?.length ?? 0 }).end(bytes)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}${prefix}`
  return {
    metadataUrl: `${base}/metadata/`,
    targetsUrl: `${base}/targets/`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
