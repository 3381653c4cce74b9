/** The theme: the system's, or what the person chose. `public/theme.js` sets the first paint from the same key. */
const KEY = 'satpatch.theme'
export type ThemeChoice = 'system' | 'light' | 'dark'

class Theme {
  #choice = $state<ThemeChoice>('system')

  get choice(): ThemeChoice {
    return this.#choice
  }

  start(): void {
    try {
      const kept = localStorage.getItem(KEY)
      if (kept === 'light' || kept === 'dark') this.#choice = kept
    } catch {
      // storage denied: the system's setting decides
    }
    const system = matchMedia('(prefers-color-scheme: dark)')
    system.addEventListener('change', () => this.#apply(system.matches))
    this.#apply(system.matches)
  }

  choose(choice: ThemeChoice): void {
    this.#choice = choice
    try {
      if (choice === 'system') localStorage.removeItem(KEY)
      else localStorage.setItem(KEY, choice)
    } catch {
      // it holds until the page is closed
    }
    this.#apply(matchMedia('(prefers-color-scheme: dark)').matches)
  }

  #apply(systemDark: boolean): void {
    const dark = this.#choice === 'dark' || (this.#choice === 'system' && systemDark)
    document.documentElement.dataset['theme'] = dark ? 'dark' : 'light'
    document.querySelector('meta[name=theme-color]')?.setAttribute('content', dark ? '#0c1210' : '#eff1ec')
  }
}

export const theme = new Theme()
