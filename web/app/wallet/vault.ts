/** The vault of this browser, opened once for the tab; every page keeps its secrets there. */
import { browserHome } from '../../edge/vault/home.ts'
import { browserPasskeys } from '../../edge/vault/passkey.ts'
import { openVault, type Vault } from '../../edge/vault/vault.ts'

let opened: Promise<Vault> | undefined

/** Rejects where the browser keeps nothing; asked again, it tries again. */
export function browserVault(): Promise<Vault> {
  opened ??= openVault(browserHome(), browserPasskeys).catch((error: unknown) => {
    opened = undefined
    throw error
  })
  return opened
}
