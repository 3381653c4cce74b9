import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { directoryFetch, DIRECTORY_URL } from './directory-fetch.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'satpatch-stick-'))
  await mkdir(join(dir, 'stick', 'v', 'ab'), { recursive: true })
  await writeFile(join(dir, 'stick', 'v', 'ab', '1.root.json'), '0123456789')
  await writeFile(join(dir, 'secret'), 'secret')
  await symlink(join(dir, 'secret'), join(dir, 'stick', 'v', 'ab', 'link.json'))
  await symlink(dir, join(dir, 'stick', 'v', 'up'))
  execFileSync('mkfifo', [join(dir, 'stick', 'v', 'ab', 'pipe.json')])
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const get = (path: string, range?: string): Promise<Response> =>
  directoryFetch(join(dir, 'stick'))(
    `${DIRECTORY_URL}${path}`,
    range === undefined ? {} : { headers: { range } },
  )

test('files are read whole and by range, as from a server', async () => {
  expect(await (await get('/v/ab/1.root.json')).text()).toBe('0123456789')
  const part = await get('/v/ab/1.root.json', 'bytes=2-4')
  expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([
    206,
    'bytes 2-4/10',
    '234',
  ])
  expect((await get('/v/ab/1.root.json', 'bytes=10-12')).status).toBe(416)
})

test.each(['~tilde.json', '_low.json', '-dash.json', '3.a%2Fb~c.json'])(
  'a role may be called so that its file is %s',
  async (name) => {
    await writeFile(join(dir, 'stick', 'v', 'ab', name), name)
    expect(await (await get(`/v/ab/${name}`)).text()).toBe(name)
  },
)

test.each([
  '/v/ab',
  '/v/ab/2.root.json',
  '/v/../../secret',
  '/v/ab/%2e%2e/%2e%2e/secret',
  '/v/ab/link.json',
  '/v/up/secret',
  '/v/ab/pipe.json',
  '/.hidden',
])('%s is not there: no folder, no link, no pipe, nothing outside', async (path) => {
  expect((await get(path)).status).toBe(404)
})

test('there is no other host, and nothing is written', async () => {
  await expect(directoryFetch(dir)('http://example.com/')).rejects.toThrow('no network')
  const put = directoryFetch(join(dir, 'stick'))(`${DIRECTORY_URL}/v/ab/1.root.json`, {
    method: 'PUT',
    body: 'x',
  })
  expect((await put).status).toBe(404)
})
