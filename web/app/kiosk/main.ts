/** Starts the page of a device's own screen: none of the others' keys, wallets or workers come along. */
import '@fontsource-variable/atkinson-hyperlegible-next/wght.css'
import '@fontsource-variable/atkinson-hyperlegible-mono/wght.css'
import '../style/tokens.css'
import '../style/base.css'
import { mount } from 'svelte'
import { theme } from '../shell/theme.svelte.ts'
import Kiosk from './Kiosk.svelte'
import { kiosk } from './kiosk.svelte.ts'

theme.start()
kiosk.start()
const target = document.getElementById('app')
if (!target) throw new Error('kiosk.html has no #app')
mount(Kiosk, { target })
