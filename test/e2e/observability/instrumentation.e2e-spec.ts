import { globSync } from 'node:fs';
import { DiscoveryService } from '@nestjs/core';
import { SchedulerRegistry } from '@nestjs/schedule';
import { PROVIDER_OPERATION } from '../../../src/common/decorators/provider-call.decorator.js';
import { CRON_TASK, type CronTaskOptions } from '../../../src/infra/cron/cron-task.decorator.js';
import { SUBSCRIPTIONS, type SubscriptionMetadata } from '../../../src/infra/outbox/on-outbox-event.decorator.js';
import { Subscribers } from '../../../src/infra/outbox/subscribers.service.js';
import { type DeclaredMethod, declaredMethods, publicMethodsOf } from '../../support/declared-methods.js';
import { eventually } from '../../support/eventually.js';
import { BUSINESS_NUMBER, TestApp } from '../../support/test-app.js';

describe('instrumentation', () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await TestApp.start();
    await app.onboard();
  });
  afterAll(() => app.stop());

  /** What the running app has of a class, whether it is provided or a controller; undefined when it is neither. */
  function methodOf({ className, method }: DeclaredMethod): object | undefined {
    const discovery = app.app.get(DiscoveryService, { strict: false });
    const instance = [...discovery.getProviders(), ...discovery.getControllers()]
      .map((wrapper) => wrapper.instance)
      .find((one) => one?.constructor?.name === className);
    return instance?.[method];
  }

  const metadataOf = (key: unknown, declared: DeclaredMethod): unknown => {
    const method = methodOf(declared);
    return method && Reflect.getMetadata(key, method);
  };
  const nameOf = ({ file, method }: DeclaredMethod) => `${file} ${method}`;

  it('registers every task that the source declares, under its name, and nothing else', () => {
    const tasks = declaredMethods('**/*.ts').filter(({ decorators }) => decorators.includes('CronTask'));
    const names = tasks.map((task) => (metadataOf(CRON_TASK, task) as CronTaskOptions | undefined)?.name);
    expect(names).not.toContain(undefined);
    const jobs = app.app.get(SchedulerRegistry, { strict: false }).getCronJobs();
    expect([...jobs.keys()].sort()).toEqual(names.sort());
    for (const [name, job] of jobs) expect([name, job.isActive]).toEqual([name, true]);
    expect(names.length).toBeGreaterThanOrEqual(9);
  });

  it('has no cron file without a task, and no bare @Cron, which has neither name nor unit of work', () => {
    const files = globSync('src/**/*.cron.ts').map((file) => file.replace(/^src\//, ''));
    const withTasks = new Set(
      declaredMethods('**/*.cron.ts')
        .filter(({ decorators }) => decorators.includes('CronTask'))
        .map(({ file }) => file),
    );
    expect([...withTasks].sort()).toEqual(files.sort());
    const bare = declaredMethods('**/*.ts').filter(({ decorators }) =>
      decorators.some((name) => ['Cron', 'Interval', 'Timeout'].includes(name)),
    );
    expect(bare).toEqual([]);
  });

  it('observes every public method of every provider client that can ask the provider', () => {
    const methods = declaredMethods('*/integrations/**/*.client.ts').filter(({ mayWait }) => mayWait);
    expect(methods.filter((method) => metadataOf(PROVIDER_OPERATION, method) === undefined).map(nameOf)).toEqual([]);
    expect(methods.length).toBeGreaterThanOrEqual(2);
    const operations = methods.map((method) => JSON.stringify(metadataOf(PROVIDER_OPERATION, method)));
    expect(new Set(operations).size).toBe(operations.length);
  });

  it('would notice a public method without a name for what it asks, and only that', () => {
    const text = `export class AcmeClient {
      constructor(private readonly http: ProviderHttp) {}
      @ProviderCall({ provider: 'ai', endpoint: 'chat.complete' }) complete() {}
      forgotten() {}
      private of() {}
      #transport() {}
    }`;
    const methods = publicMethodsOf('billing/integrations/acme/acme.client.ts', text);
    expect(methods.map(({ method, decorators }) => [method, decorators])).toEqual([
      ['complete', ['ProviderCall']],
      ['forgotten', []],
    ]);
    expect(methods.map((method) => metadataOf(PROVIDER_OPERATION, method))).toEqual([undefined, undefined]);
  });

  it('subscribes every public method of every subscriber, each subscription known to the outbox', () => {
    const handlers = declaredMethods('*/**/*.subscriber.ts');
    expect(handlers.length).toBeGreaterThanOrEqual(5);
    const subscribers = app.app.get(Subscribers, { strict: false });
    const unknown = handlers.filter((handler) => {
      const found = (metadataOf(SUBSCRIPTIONS, handler) ?? []) as SubscriptionMetadata[];
      return (
        found.length === 0 || found.some(({ options, contract }) => !subscribers.named(options.name, contract.name))
      );
    });
    expect(unknown.map(nameOf)).toEqual([]);
  });

  it('makes a webhook of every public method of every webhook controller', () => {
    const handlers = declaredMethods('*/webhooks/*.webhook.ts');
    expect(handlers.length).toBeGreaterThanOrEqual(5);
    expect(handlers.filter(({ decorators }) => !decorators.includes('Webhook')).map(nameOf)).toEqual([]);
    const routes = app.app.getHttpAdapter().getInstance().printRoutes({ commonPrefix: false });
    for (const handler of handlers) expect(methodOf(handler)).toBeDefined();
    expect(routes).toContain('webhooks/twilio/sms-inbound');
  });

  it('runs crons by themselves: the objective is computed without anybody asking', async () => {
    await eventually(
      async () => {
        expect(await app.metric('nmc_collector_up{collector="slo_first_sms"}')).toBe(1);
      },
      { label: 'the SLO cron has run', deadlineMs: 30_000 },
    );
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
