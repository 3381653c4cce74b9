/** Candidates in a session description (RFC 8839): which UDP address a peer can be reached at, and another in its place. */

export type Address = Readonly<{ host: string; port: number }>

/** The first UDP host candidate over IPv4. mDNS names cannot be used. */
export function udpAddress(sdp: string): Address | undefined {
  for (const line of sdp.split('\r\n')) {
    const match = /^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host/i.exec(line)
    if (match?.[1] !== undefined && match[2] !== undefined) return { host: match[1], port: Number(match[2]) }
  }
  return undefined
}

const PRIORITY = 2_122_317_823

/** The description with `address` as its only candidate. */
export function withAddress(sdp: string, { host, port }: Address): string {
  const lines: string[] = []
  let placed = false
  for (const line of sdp.split('\r\n')) {
    if (!line.startsWith('a=candidate:')) lines.push(line)
    else if (!placed) {
      placed = true
      lines.push(`a=candidate:1 1 UDP ${PRIORITY} ${host} ${port} typ host`)
    }
  }
  return lines.join('\r\n')
}
