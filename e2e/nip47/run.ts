/** The whole suite against two connections. */
import { basicChecks } from './checks-basic.ts'
import { moreChecks } from './checks-more.ts'
import { sdkChecks } from './checks-sdk.ts'
import { connect } from './client.ts'
import { makeContext, runChecks, type Check, type Row } from './suite.ts'

export const allChecks = ({ sdk }: { sdk: boolean }): readonly Check[] => [
  ...basicChecks,
  ...moreChecks,
  ...(sdk ? sdkChecks : []),
]

/** @throws Error when a relay cannot be reached or a string is no connection */
export async function runSuite(
  options: { payerUri: string; payeeUri: string; checks: readonly Check[]; silenceMs?: number },
  onRow?: (row: Row) => void,
): Promise<readonly Row[]> {
  const { payerUri, payeeUri, checks } = options
  const payer = await connect(payerUri, options.silenceMs)
  const payee = await connect(payeeUri, options.silenceMs)
  try {
    return await runChecks(checks, await makeContext({ payer, payee, payerUri, payeeUri }), onRow)
  } finally {
    payer.close()
    payee.close()
  }
}
