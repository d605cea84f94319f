import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { MODULES } from '../../../src/common/context/context.js';
import { basic, SCRAPER } from '../../support/spawned-app.js';
import { CALLERS, leaksIn, Traffic, WORDS } from '../../support/traffic.js';

jest.setTimeout(120_000);

type Line = Record<string, unknown>;
type Holds = (value: unknown) => boolean;

const matching =
  (pattern: RegExp): Holds =>
  (value) =>
    typeof value === 'string' && pattern.test(value);
const number: Holds = (value) => typeof value === 'number';
const some = matching(/./);
const uuid = matching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
const orNull =
  (holds: Holds): Holds =>
  (value) =>
    value === null || holds(value);

const isHttp = (line: Line) => line['message'] === 'request completed';
const isWebhook = (line: Line) => isHttp(line) && String(line['route']).startsWith('/webhooks/');
const isDelivery = (line: Line) => 'subscriber' in line;

/** Which fields which kind of line must have, by their exact names: section 3.1 of the specification. */
const KINDS: Record<string, { is: (line: Line) => boolean; fields: Record<string, Holds>; atLeast: number }> = {
  every: {
    is: () => true,
    fields: {
      timestamp: matching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      level: matching(/^(trace|debug|info|warn|error|fatal)$/),
      module: matching(new RegExp(`^(${MODULES.join('|')})$`)),
      tenant_id: orNull(uuid),
      correlation_id: orNull(uuid),
      message: some,
    },
    atLeast: 60,
  },
  HTTP: {
    is: isHttp,
    fields: {
      method: some,
      route: matching(/^(\/|unmatched$)/),
      status: number,
      latency_ms: number,
      correlation_id: uuid,
    },
    atLeast: 25,
  },
  webhook: { is: isWebhook, fields: { provider: matching(/^twilio$/), event_id: orNull(some) }, atLeast: 15 },
  'accepted webhook': {
    is: (line) => isWebhook(line) && line['status'] === 200 && line['event_id'] !== null && !line['duplicate'],
    fields: { event_id: matching(/^\w+:AC/), from: some },
    atLeast: 10,
  },
  outbox: {
    is: isDelivery,
    fields: {
      event_name: matching(/^nmc\./),
      outbox_id: some,
      attempts: number,
      tenant_id: uuid,
      correlation_id: uuid,
      causation_id: uuid,
    },
    atLeast: 10,
  },
  provider: {
    is: (line) => line['message'] === 'provider answered',
    fields: { provider: some, endpoint: some, status: some, latency_ms: number, tenant_id: uuid, correlation_id: uuid },
    atLeast: 5,
  },
  error: {
    is: (line) => line['level'] === 'error' || line['level'] === 'fatal' || 'error_code' in line,
    fields: { error_code: some, error_message: some },
    atLeast: 10,
  },
};

describe.each<{ level: string; env: Record<string, string> }>([
  { level: 'info', env: { LOG_LEVEL: 'info' } },
  { level: 'debug', env: { LOG_LEVEL: 'debug', LOG_BODY_PREVIEW: 'true', LOG_UNMASKED_UNTIL: inAnHour() } },
])('at level $level, what leaves the process', ({ level, env }) => {
  let traffic: Traffic;
  let unmasked = { text: '', mode: 0 };
  let metrics = '';

  beforeAll(async () => {
    traffic = await Traffic.start(env);
    await traffic.run();
    metrics = await (await fetch(`${traffic.baseUrl}/metrics`, { headers: basic(SCRAPER) })).text();
    const [copy] = copies(traffic.dataDir);
    if (copy) unmasked = { text: readFileSync(copy, 'utf8'), mode: statSync(copy).mode & 0o777 };
    await traffic.end();
  });
  afterAll(() => traffic.stop());

  it('is of every kind: answers of every sort, deliveries that failed, providers that did', () => {
    const statuses = new Set(traffic.lines.filter(isHttp).map(({ status }) => status));
    expect([...statuses].sort()).toEqual(expect.arrayContaining([200, 201, 400, 401, 403, 404, 409, 413, 503]));
    const messages = new Set(traffic.lines.map(({ message }) => message));
    for (const message of ['event handled', 'event failed, will be retried', 'provider answered', 'request failed']) {
      expect(messages).toContain(message);
    }
  });

  it('names no number, no address, no secret and no body in any line', () => {
    const words = level === 'debug' ? ['kalamazoo', 'ouagadougou', 'reykjavik', 'thimphu'] : WORDS;
    const leaks = traffic.output.split('\n').flatMap((line) => leaksIn(line, words).map((leak) => `${leak}: ${line}`));
    expect(leaks).toEqual([]);
    expect(traffic.output).toContain('***0267');
  });

  it('names none of it in any span, event or status, nor in any metric', () => {
    expect(traffic.collector.spans.length).toBeGreaterThan(200);
    const failed = traffic.collector.spans.filter(({ status }) => status.code === 2);
    expect(failed.length).toBeGreaterThan(3);
    const leaks = traffic.collector.spans.flatMap(({ raw }) => leaksIn(raw, WORDS).map((leak) => `${leak}: ${raw}`));
    expect(leaks).toEqual([]);
    expect(leaksIn(metrics, WORDS)).toEqual([]);
  });

  it.each(Object.entries(KINDS))('has the required fields on every line: %s', (_kind, { is, fields, atLeast }) => {
    const lines = traffic.lines.filter(is);
    expect(lines.length).toBeGreaterThanOrEqual(atLeast);
    const wrong = lines.flatMap((line) =>
      Object.entries(fields)
        .filter(([name, holds]) => !(name in line && holds(line[name])))
        .map(([name]) => `${name}: ${JSON.stringify(line)}`),
    );
    expect(wrong).toEqual([]);
  });

  it('knows the tenant on every line of a journey from the moment that it is known', () => {
    const journeys = Map.groupBy(traffic.lines, (line) => line['correlation_id']);
    journeys.delete(null);
    for (const lines of journeys.values()) {
      const since = lines.findIndex((line) => line['tenant_id'] !== null);
      if (since >= 0) expect(new Set(lines.slice(since).map((line) => line['tenant_id'])).size).toBe(1);
    }
  });

  it('shows stacks in DEBUG only', () => {
    const stacks = traffic.lines.filter((line) => 'stack' in line);
    const errors = traffic.lines.filter((line) => 'stack_hash' in line);
    expect(errors.length).toBeGreaterThan(3);
    expect(stacks).toHaveLength(level === 'debug' ? errors.length : 0);
    if (level === 'info') expect(traffic.output).not.toMatch(/\\n\s+at /);
  });

  it('shows bodies only where previews are switched on, and then their beginnings, redacted', () => {
    const previews = traffic.lines.flatMap((line) => ('body_preview' in line ? [String(line['body_preview'])] : []));
    if (level === 'info') return expect(previews).toEqual([]);
    expect(previews).toContain('My boiler is broken, ring (***0272 or ***@***; I a');
    expect(previews).toContainEqual(expect.stringMatching(/^Hi from Joe's Plumbing/));
    for (const preview of previews) expect(Array.from(preview).length).toBeLessThanOrEqual(50);
  });

  it('goes unmasked to a file of its own if an end was set, announced, counted, and deleted with the process', () => {
    const announced = traffic.lines.filter(({ message }) => /unmasked/.test(String(message)));
    if (level === 'info') {
      expect([announced, unmasked.text, copies(traffic.dataDir)]).toEqual([[], '', []]);
      expect(metrics).toMatch(/^log_unmasked_active 0$/m);
      return;
    }
    expect(announced[0]).toMatchObject({ level: 'warn', until: env['LOG_UNMASKED_UNTIL'], file: expect.any(String) });
    expect(metrics).toMatch(/^log_unmasked_active 1$/m);
    expect(metrics).toMatch(/^log_unmasked_lines_total [1-9]/m);
    expect(unmasked.text).toContain(`"from":"${CALLERS.texting}"`);
    expect(leaksIn(unmasked.text, ['kalamazoo', 'thimphu', 'reykjavik'])).not.toContain('kalamazoo');
    expect(unmasked.mode).toBe(0o600);
    expect(existsSync(String(announced[0]?.['file']))).toBe(false);
    expect(copies(traffic.dataDir)).toEqual([]);
  });
});

function inAnHour(): string {
  return new Date(Date.now() + 3_600_000).toISOString();
}

function copies(directory: string): string[] {
  return readdirSync(directory).map((name) => join(directory, name));
}
