import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { type FirstResponse, ReportingApi } from '../reporting/contracts/reporting.api.js';
import type { PlacedCall } from './demo-caller.js';
import type { TwilioSimulator } from './simulators/twilio/twilio-simulator.js';

const PROMISE_MS = 5_000;
const GIVE_UP_MS = 15_000;
const LOOK_EVERY_MS = 20;

interface Welcome {
  baseUrl: string;
  logFile: string;
  tenantId: string | undefined;
}

/** What the demo prints: a line a call, with the stages that its time went to. */
export class DemoReport {
  private readonly latencies: number[] = [];
  private missed = 0;

  constructor(
    private readonly app: NestFastifyApplication,
    private readonly simulator: TwilioSimulator,
  ) {}

  welcome({ baseUrl, logFile, tenantId }: Welcome): void {
    print(`
NeverMissCall demo: real app, embedded Postgres, simulated Twilio.

  app      ${baseUrl}
  health   ${baseUrl}/health/ready
  metrics  curl -u metrics:metrics ${baseUrl}/metrics
  log      ${logFile}   (one JSON object a line; follow a call by its correlation_id)
  tenant   ${tenantId ?? 'from an earlier run'}

Missed calls come in now; Ctrl-C ends everything.

  call  caller        first text      webhook   outbox  handler provider  journey`);
  }

  /** Waits for the first text of a call and prints how it came about. @returns whether it came within the promise */
  async follow(n: number, call: PlacedCall): Promise<boolean> {
    const response = call.status === 200 ? await this.answered(call.correlationId) : undefined;
    const texts = this.simulator.ledger.messagesTo(call.from).length;
    const latency = response?.latencyMs ?? null;
    const kept = latency !== null && latency <= PROMISE_MS && texts === 1;
    if (latency === null) this.missed++;
    else this.latencies.push(latency);
    const stages = response?.stagesMs;
    const columns = [
      String(n).padStart(6),
      `***${call.from.slice(-4)}`.padEnd(12),
      (latency === null ? `NO TEXT (${call.status})` : `${latency.toFixed(0)} ms ${kept ? 'ok' : 'LATE'}`).padEnd(14),
      ...[stages?.webhook, stages?.outboxWait, stages?.handler, stages?.provider].map((ms) =>
        (ms === undefined ? '-' : `${ms.toFixed(0)} ms`).padStart(8),
      ),
      ` ${call.correlationId}`,
    ];
    print(columns.join(' '));
    return kept;
  }

  summary(): void {
    const sorted = this.latencies.toSorted((a, b) => a - b);
    const p95 = sorted[Math.ceil(sorted.length * 0.95) - 1];
    print(
      `\n${sorted.length + this.missed} calls, ${sorted.length} answered` +
        (p95 === undefined ? '' : `, P95 ${p95.toFixed(0)} ms (promise: ${PROMISE_MS} ms)`),
    );
  }

  private async answered(correlationId: string): Promise<FirstResponse | undefined> {
    const reporting = this.app.get(ReportingApi, { strict: false });
    const deadline = performance.now() + GIVE_UP_MS;
    while (performance.now() < deadline) {
      const response = await reporting.firstResponse(correlationId);
      if (response?.firstSmsAt) return response;
      await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
    }
    return undefined;
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
