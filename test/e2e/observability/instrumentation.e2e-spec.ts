import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { SchedulerRegistry } from '@nestjs/schedule';
import { PROVIDER_OPERATION } from '../../../src/common/decorators/provider-call.decorator.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';

describe('instrumentation', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start();
    await app.onboard();
  });
  afterAll(() => app.stop());

  /** Class and method of every public, asynchronous method of the providers whose class is called so. */
  function methodsOf(classes: RegExp): { name: string; method: object }[] {
    const scanner = new MetadataScanner();
    const providers = app.app.get(DiscoveryService, { strict: false }).getProviders();
    const instances = new Set(
      providers.map(({ instance }) => instance).filter((one) => classes.test(one?.constructor?.name)),
    );
    return [...instances].flatMap((instance) => {
      const prototype = Object.getPrototypeOf(instance) as Record<string, object>;
      return scanner.getAllMethodNames(prototype).flatMap((key) => {
        const method = prototype[key];
        return method ? [{ name: `${instance.constructor.name}.${key}`, method }] : [];
      });
    });
  }

  it('registers every cron under its name', () => {
    const jobs = app.app.get(SchedulerRegistry, { strict: false }).getCronJobs();
    const crons = methodsOf(/Cron$/).filter(({ method }) => Reflect.getMetadata('SCHEDULE_CRON_OPTIONS', method));
    expect([...jobs.keys()].sort()).toEqual([
      'infra.db_pool',
      'infra.db_server',
      'infra.db_snapshots',
      'infra.outbox_backlog',
      'infra.outbox_partitions',
      'infra.outbox_safety_net',
      'infra.outbox_table',
      'infra.process_usage',
      'reporting.ledger',
      'reporting.slo_budget',
      'reporting.slo_first_sms',
    ]);
    expect(crons).toHaveLength(jobs.size);
  });

  it('runs crons by themselves: the objective is computed without anybody asking', async () => {
    await eventually(
      async () => {
        expect(await app.metric('nmc_collector_up{collector="slo_first_sms"}')).toBe(1);
      },
      { label: 'the SLO cron has run', deadlineMs: 10_000 },
    );
  });

  it('observes every public call to a provider', () => {
    const calls = methodsOf(/^TwilioClient$/).filter(({ name }) => !/\.(of|transport)$/.test(name));
    expect(calls.map(({ name }) => name).sort()).toEqual(['TwilioClient.createMessage', 'TwilioClient.listMessagesTo']);
    for (const { method } of calls) expect(Reflect.getMetadata(PROVIDER_OPERATION, method)).toBeDefined();
  });

  it('writes the specified fields, at the edge, in the outbox and towards the provider', async () => {
    const from = '+14155550171';
    const call = await app.twilio.placeCall({ from, to: BUSINESS_NUMBER });
    await app.twilio.messageTo(from);
    const correlation = call.headers['x-correlation-id'];
    const mine = () => app.log.filter((line) => line['correlation_id'] === correlation);
    await eventually(() => mine().some((line) => line['subscriber'] === 'conversation.first_reply'), {
      label: 'the handler is logged',
    });

    const common = { timestamp: expect.stringMatching(/^\d{4}-.*Z$/), level: 'info', tenant_id: expect.any(String) };
    expect(mine()).toContainEqual(
      expect.objectContaining({
        ...common,
        module: 'telephony',
        method: 'POST',
        route: '/webhooks/twilio/voice',
        status: 200,
        latency_ms: expect.any(Number),
        provider: 'twilio',
        event_id: expect.stringContaining(call.callSid),
      }),
    );
    expect(mine()).toContainEqual(
      expect.objectContaining({
        ...common,
        module: 'conversation',
        causation_id: expect.any(String),
        event_name: 'nmc.telephony.CallDetected',
        outbox_id: expect.any(String),
        attempts: 1,
      }),
    );
    expect(mine()).toContainEqual(
      expect.objectContaining({
        ...common,
        provider: 'twilio',
        endpoint: 'messages.create',
        status: '201',
        provider_request_id: expect.stringMatching(/^RQ/),
      }),
    );
  });

  it('keeps numbers, names of callers and bodies out of every line', async () => {
    const from = '+14155550172';
    await app.twilio.inboundSms({
      from,
      to: BUSINESS_NUMBER,
      body: 'My boiler is broken, call jane@example.com or (415) 555-0172',
    });
    await app.twilio.messageTo(from);
    await app.http.get('/nowhere?phone=4155550172').expect(404);
    const text = app.log.map((line) => JSON.stringify(line)).join('\n');
    for (const secret of [
      '4155550172',
      '555-0172',
      'boiler',
      'jane@',
      'simulated-auth-token',
      BUSINESS_NUMBER.slice(1),
    ]) {
      expect(text).not.toContain(secret);
    }
  });
});
