/** A seller in a process of its own, with real hold invoices (NIP-47) and its journal on disk, killed with -9 and started again. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { toHex } from '../../web/core/bytes.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { startService } from '../../relay/wallet/harness.ts'
import { GRANT, until } from './arena.ts'
import { whole } from './finish.ts'
import { inArena } from './in-arena.ts'

type Child = { said(word: string): Promise<void>; kill(): Promise<void> }

function start(dir: string, diesAt = ''): Child {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'crash-seller.ts'), dir, diesAt], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '--disable-warning=ExperimentalWarning' },
  })
  const words = new Set<string>()
  const waiting = new Map<string, () => void>()
  createInterface({ input: child.stdout }).on('line', (word) => {
    words.add(word)
    waiting.get(word)?.()
  })
  const exited = new Promise<void>((done) => child.once('exit', () => done()))
  return {
    said: (word) =>
      words.has(word) ? Promise.resolve() : new Promise((done) => void waiting.set(word, done)),
    kill: () => {
      child.kill('SIGKILL')
      return exited
    },
  }
}

test.each(['locked', 'settled'])(
  'a seller killed when its hold is %s: the next process gives what was paid for, every msat is there',
  (step) =>
    inArena(async (arena) => {
      const dir = await mkdtemp(join(tmpdir(), 'satpatch-kill-'))
      arena.onClose(() => rm(dir, { recursive: true, force: true }))
      const service = await startService()
      arena.onClose(() => service.stop())
      const connect = async (grantMsat: number) => {
        const { connection } = await service.wallet.openAccount({ grantMsat })
        const wallet = await connectNwc(connection)
        arena.onClose(() => Promise.resolve(wallet.close()))
        return { connection, wallet }
      }
      const till = await connect(0)
      const purse = await connect(GRANT)
      const { infoHash, piecesRoot, length: bytes, pieceLength, torrent } = arena.meta
      const secret = toHex(crypto.getRandomValues(new Uint8Array(32)))
      const tracker = arena.trackerOf('child')
      const setup = { tracker, connection: till.connection, secret, infoHash, piecesRoot, bytes, pieceLength }
      await writeFile(join(dir, 'setup.json'), JSON.stringify(setup), { mode: 0o600 })
      await writeFile(join(dir, 'meta.torrent'), torrent)
      await writeFile(join(dir, 'artifact'), arena.content)

      const first = start(dir, step)
      arena.onClose(() => first.kill())
      await first.said('ready')
      const self = await arena.member('device', { full: false })
      await self.leave()
      const device = await arena.device({}, { ...self, wallet: purse.wallet })
      await first.said(step)
      await first.kill()
      if (step === 'locked') {
        await until(device.download, ({ locked }) => locked > 0)
        expect(device.download.get().have).toBe(0)
      } else await until(device.download, ({ have }) => have > 0)

      // What else was asked of the dead one counts as silent.
      arena.skip(15_100)
      const second = start(dir)
      arena.onClose(() => second.kill())
      await second.said('ready')
      await whole(arena, device)
      const { paid } = device.download.get()
      expect(await till.wallet.balance()).toBe(paid)
      expect(await purse.wallet.balance()).toBe(GRANT - paid)
      expect(service.wallet.audit().problems).toEqual([])
    }),
  40_000,
)
