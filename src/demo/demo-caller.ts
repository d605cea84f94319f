import { randomInt } from 'node:crypto';
import type { Config } from '../infra/config/config.js';
import type { TwilioSimulator } from './simulators/twilio/twilio-simulator.js';

const BUSINESS = { name: "Joe's Plumbing", number: '+12125550100' };
const AREA_CODES = ['212', '310', '312', '404', '415', '512', '617', '702', '713', '917'];

/** A call that was placed. */
export interface PlacedCall {
  from: string;
  /** The webhook's answer; 200 when the app took it in. */
  status: number;
  correlationId: string;
}

/** The callers of the demo tenant: each a new, fictional number, so that nobody is a repeat. */
export class DemoCaller {
  private constructor(
    private readonly simulator: TwilioSimulator,
    private readonly baseUrl: string,
    /** Undefined when an earlier run has onboarded the demo tenant already. */
    readonly tenantId: string | undefined,
  ) {}

  /** Onboards the demo tenant the way an operator would; one that is there already is fine. */
  static async prepare(simulator: TwilioSimulator, config: Config): Promise<DemoCaller> {
    const { OPS_USERNAME, OPS_PASSWORD, PUBLIC_BASE_URL } = config.env;
    const response = await fetch(`${PUBLIC_BASE_URL}/ops/api/tenants`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: `Basic ${Buffer.from(`${OPS_USERNAME}:${OPS_PASSWORD}`).toString('base64')}`,
      },
      body: JSON.stringify({
        name: BUSINESS.name,
        time_zone: 'America/New_York',
        numbers: [BUSINESS.number],
        voice_mode: 'forward_target',
        a2p_status: 'approved',
      }),
      signal: AbortSignal.timeout(10_000),
    });
    const answer = (await response.json()) as { tenant_id?: string; code?: string };
    if (!response.ok && answer.code !== 'telephony.number_taken') {
      throw new Error(`the demo tenant could not be onboarded: ${response.status} ${answer.code}`);
    }
    return new DemoCaller(simulator, PUBLIC_BASE_URL, answer.tenant_id);
  }

  async placeCall(): Promise<PlacedCall> {
    const from = someCaller();
    const call = await this.simulator.placeCall({ webhookBaseUrl: this.baseUrl, from, to: BUSINESS.number });
    return { from, status: call.status, correlationId: String(call.headers['x-correlation-id'] ?? '') };
  }
}

/** A number that is answered: below 976, the exchange of premium services, which get no text. */
export function someCaller(): string {
  const area = AREA_CODES[randomInt(AREA_CODES.length)];
  return `+1${area}${randomInt(200, 976)}${String(randomInt(10_000)).padStart(4, '0')}`;
}
