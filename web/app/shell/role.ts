/** Which role this browser played last: decides where `/` leads. */
const KEY = 'satpatch.role'
export type Role = 'vendor' | 'seed'

export function lastRole(): Role | undefined {
  try {
    const kept = localStorage.getItem(KEY)
    return kept === 'vendor' || kept === 'seed' ? kept : undefined
  } catch {
    return undefined
  }
}

export function rememberRole(role: Role): void {
  try {
    localStorage.setItem(KEY, role)
  } catch {
    // only a convenience
  }
}
