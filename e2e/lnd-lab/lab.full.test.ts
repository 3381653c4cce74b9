/** The whole lab, where Go or an earlier build is there. Building takes ten minutes: `npm run lab:lnd` does it beforehand. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { binariesOrWhy, type Binaries } from './build.ts'
import { HOP, runLab, runRouted } from './lab.ts'

const LAB_TIMEOUT_MS = 15 * 60_000
const built = binariesOrWhy()
if (built.tag === 'absent') console.log(`The LND lab is left out: ${built.why}`)

const quiet = (): void => {
  for (const method of ['error', 'info', 'warn'] as const)
    vi.spyOn(console, method).mockImplementation(() => undefined)
}

/** Runs in a directory that is gone afterwards. */
async function inLab<T>(
  run: (dir: string, binaries: Binaries, say: (line: string) => void) => Promise<T>,
): Promise<T> {
  if (built.tag === 'absent') throw new Error(built.why)
  quiet()
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'satpatch-lnd-'))
  try {
    return await run(dir, built.binaries, (line) => console.log(line))
  } finally {
    fs.rmSync(dir, { recursive: true, force: true })
  }
}

test.skipIf(built.tag === 'absent')(
  'the wallet service in front of real LND: conformance, kills, and books that agree with the nodes',
  async () => {
    const { refusals, rows, killed, books } = await inLab(runLab)
    expect(refusals).toHaveLength(3)
    expect(rows.filter(({ verdict }) => verdict === 'wrong')).toEqual([])
    expect(rows.filter(({ verdict }) => verdict === 'lacks').map(({ method }) => method)).toEqual([
      'NostrWebLNProvider',
    ])
    expect(killed.paid).toBeGreaterThan(0)
    expect(books).toHaveLength(2)
  },
  LAB_TIMEOUT_MS,
)

test.skipIf(built.tag === 'absent')(
  'a payment that a third node routes costs what that node takes, in every book',
  async () => {
    const { fees, books } = await inLab(runRouted)
    expect(fees.length).toBeGreaterThan(0)
    for (const { amount, fee } of fees)
      expect(fee).toBe(HOP.baseMsat + Math.floor((amount * HOP.ppm) / 1_000_000))
    expect(books).toHaveLength(2)
  },
  LAB_TIMEOUT_MS,
)
