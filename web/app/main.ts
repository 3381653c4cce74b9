/** Starts the PWA: theme, address, service worker, shell. */
import '@fontsource-variable/atkinson-hyperlegible-next/wght.css'
import '@fontsource-variable/atkinson-hyperlegible-mono/wght.css'
import './style/tokens.css'
import './style/base.css'
import { mount } from 'svelte'
import { registerSW } from 'virtual:pwa-register'
import App from './shell/App.svelte'
import { ice } from './shell/ice.svelte.ts'
import { router } from './shell/router.svelte.ts'
import { theme } from './shell/theme.svelte.ts'
import { version } from './shell/version.svelte.ts'
import { runAllowances } from './wallet/running.ts'

ice.watch()
theme.start()
router.start()
if ('serviceWorker' in navigator) version.start(registerSW)
// A one-time link pasted over an open page changes only the fragment, which the browser does not load anew.
addEventListener('hashchange', () => {
  if (/^#(admit|keys|store)=/.test(location.hash)) location.reload()
})
const target = document.getElementById('app')
if (!target) throw new Error('index.html has no #app')
mount(App, { target })
if (isSecureContext) void runAllowances()
