declare module '#secp' {
  /** Installs the fastest secp256k1 that the platform has. Until it resolves the pure one is used. */
  export function loadSecp(): Promise<void>
}
