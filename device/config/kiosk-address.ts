/** Where the page for the device's own screen is served: this machine only. */

export type KioskAddress = Readonly<{
  host: '127.0.0.1' | '::1'
  /** 0 takes a free one. */
  port: number
}>

export const KIOSK_WANTED = 'this machine’s own address and a port, such as "127.0.0.1:8788"'

/** `undefined` for anything that another machine could reach. */
export function kioskAddress(text: string): KioskAddress | undefined {
  const match = /^(127\.0\.0\.1|localhost|\[::1\]):(\d{1,5})$/.exec(text)
  const port = Number(match?.[2])
  if (match === null || port > 65_535) return undefined
  return { host: match[1] === '[::1]' ? '::1' : '127.0.0.1', port }
}
