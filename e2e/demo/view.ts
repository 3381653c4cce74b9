/** The demo in a terminal: a live picture where there is one, plain lines where there is none. */
import type { DeviceRelease, ReleaseView } from '../../web/core/rollout/fleet.ts'

export type Names = (key: string) => string

const BAR = 24
/** Of a device's row: everything but the bar. */
const BESIDE_BAR = 59
/** Narrower than this it cannot be redrawn in place: rows would break. */
export const LEAST_COLUMNS = BESIDE_BAR + 5
const DIM = '\x1b[2m'
const GREEN = '\x1b[32m'
const YELLOW = '\x1b[33m'
const RED = '\x1b[31m'
const RESET = '\x1b[0m'

/** Msat as sats with three decimals at most. */
export const sats = (msat: number): string =>
  (msat / 1000).toLocaleString('en', { maximumFractionDigits: 3, useGrouping: false })
export const megabytes = (bytes: number): string =>
  bytes < 1_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`

const share = (device: DeviceRelease): number =>
  device.state === 'healthy' ? 1 : device.pieces === 0 ? 0 : device.havePieces / device.pieces
const rateOf = (device: DeviceRelease): number =>
  device.sellers.reduce((sum, { rateBps }) => sum + rateBps, 0)

function bar(part: number, width: number, colour: boolean): string {
  const full = Math.round(part * width)
  const [on, off] = ['█'.repeat(full), '░'.repeat(width - full)]
  return colour ? `${on}${DIM}${off}${RESET}` : on + off
}

function soldBy(device: DeviceRelease, names: Names): string {
  const bytes = device.sellers.reduce((sum, seller) => sum + seller.bytes, 0)
  return device.sellers
    .filter((seller) => seller.bytes > 0)
    .toSorted((a, b) => b.bytes - a.bytes)
    .map((seller) => `${names(seller.seller)} ${Math.round((100 * seller.bytes) / bytes)} %`)
    .join(', ')
}

/** The lines of one release, at most `columns` wide, of which there are `LEAST_COLUMNS`. */
export function frame(view: ReleaseView, names: Names, columns: number, colour: boolean): string[] {
  const paint = (code: string, text: string): string => (colour ? `${code}${text}${RESET}` : text)
  const { release } = view
  const head = `${release.product} ${release.version} · ${megabytes(release.bytes)} · ${release.fileName}`
  const width = Math.min(BAR, columns - BESIDE_BAR)
  const rows = view.devices.map((device) => {
    const state = device.state.padEnd(11)
    const shown =
      device.state === 'healthy'
        ? paint(GREEN, state)
        : device.state === 'failed' || device.state === 'rolled back'
          ? paint(RED, state)
          : device.state === 'queued'
            ? paint(YELLOW, state)
            : state
    const rate = device.state === 'buying' ? `${megabytes(rateOf(device))}/s` : ''
    const percent = `${Math.floor(share(device) * 100)} %`.padStart(5)
    const line = `  ${device.name.padEnd(10)} ${bar(share(device), width, colour)} ${percent}  ${shown} ${rate.padStart(11)} ${`${sats(device.paidMsat)} sats`.padStart(13)}`
    // What is cut off is the least telling part, and carries no colours.
    const left = columns - BESIDE_BAR - width - 3
    const tail = device.reason && device.state !== 'healthy' ? device.reason : soldBy(device, names)
    return left > 8 ? `${line}  ${tail.slice(0, left)}` : line
  })
  const foot = `${view.healthy} of ${view.enrolled} healthy · ${sats(view.paidMsat)} play sats paid · ${view.receiptsChecked} of ${view.receipts} receipts checked`
  return ['', paint('\x1b[1m', head.slice(0, columns)), ...rows, '', `  ${foot}`.slice(0, columns), '']
}

export interface Screen {
  show(view: ReleaseView): void
  /** A line of its own, above what moves. */
  say(line: string): void
}

const REDRAW_MS = 100

/** A picture that is redrawn in place. */
export function liveScreen(out: NodeJS.WriteStream, names: Names): Screen {
  let drawn = 0
  let lastMs = 0
  let waiting: NodeJS.Timeout | undefined
  let lines: string[] = []
  const erase = (): string => (drawn > 0 ? `\x1b[${drawn}A\x1b[J` : '')
  const draw = (): void => {
    waiting = undefined
    lastMs = performance.now()
    out.write(`${erase()}${lines.join('\n')}\n`)
    drawn = lines.length
  }
  return {
    show(view) {
      lines = frame(view, names, out.columns || 100, true)
      // The last change of a burst is always drawn.
      waiting ??= setTimeout(draw, Math.max(0, lastMs + REDRAW_MS - performance.now()))
    },
    say(line) {
      if (waiting) {
        clearTimeout(waiting)
        draw()
      }
      out.write(`${line}\n`)
      drawn = 0
    },
  }
}

/** One line for each change of state and each quarter of the way. */
export function plainScreen(say: (line: string) => void, names: Names): Screen {
  const told = new Map<string, string>()
  return {
    say,
    show(view) {
      for (const device of view.devices) {
        const quarter = device.state === 'buying' ? Math.floor(share(device) * 4) * 25 : 0
        const now = `${device.state} ${quarter} ${device.state === 'queued' ? (device.reason ?? '') : ''}`
        const key = `${view.release.path} ${device.device}`
        if (told.get(key) === now || device.state === 'waiting') continue
        told.set(key, now)
        const parts = [
          `${device.name}: ${device.state}`,
          ...(device.state === 'buying'
            ? [`${Math.floor(share(device) * 100)} %, ${megabytes(rateOf(device))}/s`]
            : []),
          ...(device.paidMsat > 0 ? [`${sats(device.paidMsat)} sats paid`, soldBy(device, names)] : []),
          ...(device.reason ? [device.reason] : []),
        ]
        say(parts.join(', '))
      }
    },
  }
}

/** Columns as wide as their widest cell; numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i]?.length ?? 0)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (/^[\d.]+$/.test(cell) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd()
  return [line(head), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n')
}
