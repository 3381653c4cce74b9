/** Where what is bought lies until it is installed, and what of it is installed. */
import { join } from 'node:path'
import type { Release } from '../../web/core/release/target.ts'

export const downloadDir = (dataDir: string, release: Pick<Release, 'infoHash'>): string =>
  join(dataDir, 'downloads', release.infoHash)
export const artifactPath = (dataDir: string, release: Pick<Release, 'infoHash'>): string =>
  join(downloadDir(dataDir, release), 'artifact')
/** What is installed: of a confidential release the decrypted file, which is never sold. */
export const installPath = (dataDir: string, release: Release): string =>
  release.confidential ? join(downloadDir(dataDir, release), 'plain') : artifactPath(dataDir, release)
