// Sets the theme before the first paint. `app/shell/theme.svelte.ts` takes over from here.
;(() => {
  let chosen = null
  try {
    chosen = localStorage.getItem('satpatch.theme')
  } catch {
    // storage may be denied: the system's setting decides
  }
  const dark = chosen === 'dark' || (chosen !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  document.documentElement.dataset.theme = dark ? 'dark' : 'light'
})()
