/** Hashes and ciphers of whole windows, off a page's main thread. `#crypto` is Node's or the browser's. */
export { arrivingHashes, cryptHashed, hashOf, leafHashes, runningSha256, sealHashed } from '#crypto'
export { cryptWith as cryptWindow } from './crypto-web.ts'
