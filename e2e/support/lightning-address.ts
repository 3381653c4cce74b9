/** The server behind a Lightning address (LUD-16), on this machine; a page reaches it under a name with https. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Page } from 'playwright'
import { onTestFinished } from 'vitest'

export const ADDRESS = 'alice@pay.example'
export const LEAST_MSAT = 5_000

/** `invoiceFor` makes what is handed out; it takes 5 sats at least. Gone when the test ends. */
export async function serveAddress(
  page: Page,
  mostMsat: number,
  invoiceFor: (amountMsat: number) => Promise<string>,
): Promise<void> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    response.setHeader('access-control-allow-origin', '*')
    const terms = { tag: 'payRequest', callback: 'https://pay.example/cb', metadata: '[]' }
    if (url.pathname === '/.well-known/lnurlp/alice')
      return response.end(JSON.stringify({ ...terms, minSendable: LEAST_MSAT, maxSendable: mostMsat }))
    void invoiceFor(Number(url.searchParams.get('amount'))).then((pr) =>
      response.end(JSON.stringify({ pr, routes: [] })),
    )
    return undefined
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  await page.route('https://pay.example/**', async (route) => {
    const { pathname, search } = new URL(route.request().url())
    const response = await route.fetch({ url: `http://127.0.0.1:${port}${pathname}${search}` })
    await route.fulfill({ response })
  })
}
