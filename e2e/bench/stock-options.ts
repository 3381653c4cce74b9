/** Stock webtorrent, in Node and in tabs: everything at its defaults but what would leave this machine or cost it time. */
export const STOCK_OPTIONS = {
  dht: false,
  lsd: false,
  utp: false,
  utPex: false,
  natUpnp: false,
  natPmp: false,
  tracker: { rtcConfig: { iceServers: [] } },
}
