/** What is used of Bitcoin Connect; its own types do not resolve under `nodenext`. */
declare module '@getalby/bitcoin-connect' {
  export function init(config: {
    appName: string
    showBalance: boolean
    /** False: nothing is written to localStorage. */
    persistConnection: boolean
    autoConnect: boolean
  }): void
  /** A WebLN provider; rejects when the person closes the list. */
  export function requestProvider(): Promise<unknown>
  export function getConnectorConfig(): unknown
  export function closeModal(): void
  export function disconnect(): void
}
