import { expect, test } from 'vitest'
import { metadataFileName } from './export.ts'

test('a delegated role called ../../evil stays a name on disk', () => {
  expect(metadataFileName('/v/ab/metadata/1.%2E%2E%2F%2E%2E%2Fevil.json')).toBe(
    '1.%2E%2E%2F%2E%2E%2Fevil.json',
  )
  expect(metadataFileName('/v/ab/metadata/timestamp.json')).toBe('timestamp.json')
  for (const name of ['..', '.htaccess', 'a b.json', 'a\\b.json'])
    expect(() => metadataFileName(`/v/ab/metadata/${name}`), name).toThrow(/no metadata/)
})
