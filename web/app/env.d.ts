/** What Vite provides at build time. */
/// <reference types="vite/client" />
/// <reference types="vite-plugin-pwa/vanillajs" />
