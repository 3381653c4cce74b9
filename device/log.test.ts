import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { createLogTo, withoutSecrets } from './log.ts'

test.each(['secret=', '#admit=', '#keys=', '#restore='])('%s is masked in every text', (mark) => {
  expect(withoutSecrets(`open http://localhost:1/vendor${mark}abcXYZ-09 now`)).toBe(
    `open http://localhost:1/vendor${mark}… now`,
  )
  let out = ''
  const stream = new Writable({
    write(chunk, _encoding, done) {
      out += String(chunk)
      done()
    },
  })
  createLogTo('info', stream).info({ address: `http://x/${mark}abcXYZ-09` }, `see ${mark}abcXYZ-09`)
  expect(out).toContain(mark)
  expect(out).not.toContain('abcXYZ')
})
