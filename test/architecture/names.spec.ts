import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A file as the checks see it: its path from the root of the repository, with forward slashes, and its text. */
interface SourceFile {
  path: string;
  text: string;
}

/** Takes files, returns one line for each thing that is wrong, naming the place and what to do instead. */
type Check = (files: SourceFile[]) => string[];

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The root files are the four that compose; what else lies directly under src/ is behind no wall. */
const ROOT_FILES = ['main.ts', 'migrate.ts', 'app.module.ts', 'app.factory.ts', 'instrumentation.ts'];

const ROLES =
  'module|controller|webhook|service|policy|entity|dto|event|api|client|guard|interceptor|filter|decorator|cron|' +
  'subscriber|queries|errors';
const NOUN = '[a-z][a-z0-9]*(?:-[a-z0-9]+)*';

/** What a file inside a context may be called, by the folder it is in; the first folder that matches decides. */
const CONTEXT_NAMES: { folder: RegExp; name: RegExp; form: string }[] = [
  // The public door: events, facades, one barrel, and plain values that need no role because they do nothing.
  {
    folder: /^src\/[^/]+\/contracts\//,
    name: new RegExp(`^${NOUN}(?:\\.(?:event|api|errors|dto))?\\.ts$`),
    form: '<noun>.event.ts, <noun>.api.ts, or <noun>.ts for plain values',
  },
  // A vendor's folder speaks the vendor's words (wire formats, error tables), for which our roles have no name.
  {
    folder: /^src\/[^/]+\/integrations\//,
    name: new RegExp(`^${NOUN}(?:\\.(?:${ROLES}))?\\.ts$`),
    form: `<noun>.<role>.ts, or <noun>.ts for a vendor's tables and formats`,
  },
  // Objectives are data that the alert rules are generated from, reviewed as data and named as such in the design.
  { folder: /^src\/[^/]+\/slo\/objectives\.ts$/, name: /^objectives\.ts$/, form: 'objectives.ts' },
  {
    folder: /^src\/[^/]+\//,
    name: new RegExp(`^${NOUN}\\.(?:${ROLES})\\.ts$`),
    form: `<noun>.<role>.ts with a role of ${ROLES.replaceAll('|', ', ')}`,
  },
];

const inContext = (path: string): boolean => /^src\/(?!(?:common|infra|demo)\/)[^/]+\//.test(path);

const namesByRole: Check = (files) =>
  files
    .filter(({ path }) => inContext(path))
    .flatMap(({ path }) => {
      // A spec is called after the file it is about, or after the rule it would break.
      if (new RegExp(`/${NOUN}(?:\\.${NOUN})*\\.spec\\.ts$`).test(path)) return [];
      const rule = CONTEXT_NAMES.find(({ folder }) => folder.test(path));
      const name = path.slice(path.lastIndexOf('/') + 1);
      return rule?.name.test(name) ? [] : [`${path}: call it ${rule?.form}`];
    });

const nothingLoose: Check = (files) =>
  files
    .filter(({ path }) => /^src\/[^/]+$/.test(path) && !ROOT_FILES.includes(path.slice('src/'.length)))
    .map(({ path }) => `${path}: only ${ROOT_FILES.join(', ')} lie directly under src; move it into a folder`);

const noDrawers: Check = (files) =>
  files.flatMap(({ path }) => {
    const drawer = path.split(/[/.-]/).find((word) => /^(?:utils?|helpers?|managers?|common2)$/i.test(word));
    return drawer ? [`${path}: "${drawer}" says where it was put, not what it is; name the thing`] : [];
  });

/** A spec may be as long as its list of cases. */
const noLongFiles: Check = (files) =>
  files.flatMap(({ path, text }) => {
    if (path.endsWith('.spec.ts')) return [];
    const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
    return lines > 400 ? [`${path}: ${lines} lines have two owners in them; split the file by verb (400 at most)`] : [];
  });

/** Lines of code that match, as `path:line`; a line that is only a comment is not code. */
function codeLines({ path, text }: SourceFile, pattern: RegExp): { place: string; index: number }[] {
  return text.split('\n').flatMap((line, index) => {
    const code = /^\s*(?:\/\/|\/?\*)/.test(line) ? '' : line;
    return pattern.test(code) ? [{ place: `${path}:${index + 1}`, index }] : [];
  });
}

const ENVIRONMENT =
  /\bprocess\s*(?:\?\.|\.)\s*env\b|\bprocess\s*\[\s*['"]env|\benv\b[^=]*\}\s*=\s*process\b|\{[^}]*\benv\b[^}]*\}\s*from\s*['"](?:node:)?process['"]/;
const MAY_READ_THE_ENVIRONMENT = /^src\/(?:infra\/config\/|demo\/|(?:instrumentation|main|migrate)\.ts$)/;

const environmentHasOneReader: Check = (files) =>
  files
    .filter(({ path }) => path.startsWith('src/') && !MAY_READ_THE_ENVIRONMENT.test(path))
    .flatMap((file) => codeLines(file, ENVIRONMENT))
    .map(({ place }) => `${place}: inject Config; only src/infra/config and the entry files read process.env`);

/** The methods that write to stdout, where every line is one JSON object of the logger's. */
const STDOUT = /\bconsole\s*\??\.\s*(?:log|info|debug|table|dir)\b/;

const logsGoThroughTheLogger: Check = (files) =>
  files
    .filter(({ path }) => path.startsWith('src/') && !path.startsWith('src/demo/'))
    .flatMap((file) => codeLines(file, STDOUT))
    .map(({ place }) => `${place}: inject the logger; what goes around it is neither redacted nor correlated`);

const noAbandonedWork: Check = (files) =>
  files
    .filter(({ path }) => path.startsWith('src/'))
    .flatMap((file) => {
      const text = file.text.split('\n');
      const annotated = (index: number): boolean => {
        // The reason stands beside the race, or in the comment that ends on the line above it.
        let first = index;
        while (/^\s*\/\//.test(text[first - 1] ?? '')) first -= 1;
        return text.slice(first, index + 1).some((line) => /\/\/ race: \S.{9,}/.test(line));
      };
      return codeLines(file, /\bPromise\s*\.\s*race\b/).filter(({ index }) => !annotated(index));
    })
    .map(
      ({ place }) =>
        `${place}: a race leaves the loser running; pass an AbortSignal, or say above it what stops the loser ` +
        'with "// race: <reason>"',
    );

/** Spelled with classes, so that this file does not report itself. */
const UNFINISHED = /\b(?:TO[D]O|FIX[M]E|HA[C]K)\b/;

const nothingUnfinished: Check = (files) =>
  files.flatMap(({ path, text }) =>
    text
      .split('\n')
      .flatMap((line, index) =>
        UNFINISHED.test(line) ? [`${path}:${index + 1}: finish it, or write an issue and leave the mark out`] : [],
      ),
  );

/** Everything we write by hand and run. */
function realTree(): SourceFile[] {
  const pattern = '{src,test,scripts,bench,console}/**/*.{ts,tsx,mts,js,mjs,cjs}';
  const paths = globSync(pattern, { cwd: ROOT, exclude: ['**/node_modules/**', '**/dist/**'] });
  return paths
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => !path.startsWith('test/architecture/fixtures/'))
    .map((path) => ({ path, text: readFileSync(`${ROOT}${path}`, 'utf8') }));
}

const file = (path: string, text = 'export {};\n'): SourceFile => ({ path, text });
const files = (...paths: string[]): SourceFile[] => paths.map((path) => file(path));
const lines = (count: number): string => 'x;\n'.repeat(count);
/** Where a check complained, without its advice. */
const places = (complaints: string[]): string[] => complaints.map((line) => line.replace(/: .*$/s, ''));

const real = realTree();

describe('file names', () => {
  it('are <noun>.<role>.ts inside a context', () => expect(namesByRole(real)).toEqual([]));

  it('are caught without a role, with an unknown role, in another case or in a context nobody listed', () => {
    const wrong = [
      'src/conversation/threads/thread.ts',
      'src/conversation/threads/thread.repository.ts',
      'src/conversation/threads/ThreadState.policy.ts',
      'src/conversation/threads/index.ts',
      'src/conversation/threads/slo.objectives.ts',
      'src/growth/referral.mapper.ts',
      'src/billing/contracts/plan.service.ts',
      'src/billing/contracts/Plan.ts',
      'src/billing/integrations/stripe/stripe.adapter.ts',
      'src/billing/plans/Plan Change.spec.ts',
    ];
    expect(places(namesByRole(files(...wrong)))).toEqual(wrong);
    expect(namesByRole(files('src/growth/referral.mapper.ts'))[0]).toContain('policy');
  });

  it('are left alone where they say what the file is', () => {
    const right = files(
      'src/compliance/quiet-hours.policy.ts',
      'src/compliance/quiet-hours.policy.spec.ts',
      'src/compliance/texts-nobody-at-night.spec.ts',
      'src/telephony/contracts/gsm7.ts',
      'src/telephony/contracts/index.ts',
      'src/telephony/contracts/call-detected.event.ts',
      'src/telephony/contracts/telephony.api.ts',
      'src/telephony/integrations/twilio/twilio.client.ts',
      'src/telephony/integrations/twilio/twilio-error-codes.ts',
      'src/reporting/slo/objectives.ts',
      'src/infra/outbox/backoff.ts',
      'src/common/metrics/catalogue.ts',
      'src/demo/demo.ts',
    );
    expect(namesByRole(right)).toEqual([]);
  });

  it('name a thing, not a drawer', () => expect(noDrawers(real)).toEqual([]));

  it('are caught as a drawer in any position', () => {
    const wrong = [
      'src/common/utils/text.ts',
      'src/common2/text.ts',
      'src/billing/stripe-helper.service.ts',
      'src/telephony/call.manager.ts',
      'test/support/helpers.ts',
    ];
    expect(places(noDrawers(files(...wrong, 'src/conversation/handoff.service.ts')))).toEqual(wrong);
  });

  it('leave nothing loose under src', () => expect(nothingLoose(real)).toEqual([]));

  it('are caught loose under src', () => {
    const found = nothingLoose(
      files('src/worker.ts', 'src/main.ts', 'src/app.module.ts', 'src/billing/plan.entity.ts'),
    );
    expect(places(found)).toEqual(['src/worker.ts']);
  });
});

describe('file sizes', () => {
  it('stay at 400 lines at most', () => expect(noLongFiles(real)).toEqual([]));

  it('are caught at 401, with or without a newline at the end', () => {
    const found = noLongFiles([
      file('a.ts', lines(400)),
      file('b.ts', lines(401)),
      file('c.ts', `${lines(400)}x;`),
      file('d.spec.ts', lines(401)),
    ]);
    expect(places(found)).toEqual(['b.ts', 'c.ts']);
  });
});

describe('the environment', () => {
  it('is read in one place', () => expect(environmentHasOneReader(real)).toEqual([]));

  it('is caught anywhere else, however it is spelled', () => {
    const spellings = [
      'process.env.PORT',
      "process['env']",
      'process?.env',
      'globalThis.process.env',
      'const { env } = process;',
      'const { argv, env: settings } = process;',
      "import { env } from 'node:process';",
    ];
    for (const spelling of spellings) {
      expect(places(environmentHasOneReader([file('src/billing/a.ts', `\n${spelling}`)]))).toEqual([
        'src/billing/a.ts:2',
      ]);
    }
  });

  it('is open to configuration, the entry files, the demo and comments', () => {
    const allowed = ['infra/config/config.ts', 'instrumentation.ts', 'main.ts', 'migrate.ts', 'demo/demo.ts'];
    expect(environmentHasOneReader(allowed.map((path) => file(`src/${path}`, 'process.env.PORT')))).toEqual([]);
    expect(environmentHasOneReader([file('src/billing/a.ts', '  // never process.env\n  * process.env')])).toEqual([]);
    expect(environmentHasOneReader([file('src/infra/configuration.ts', 'process.env')])).toHaveLength(1);
  });
});

describe('what must not stay in the code', () => {
  it('prints nothing around the logger', () => expect(logsGoThroughTheLogger(real)).toEqual([]));

  it('is caught printing outside the demo', () => {
    const text = 'a();\nconsole.log(1);\n// console.log(2);\nconsole.info(3);';
    const found = logsGoThroughTheLogger([file('src/ops/a.ts', text), file('src/demo/a.ts', text)]);
    expect(places(found)).toEqual(['src/ops/a.ts:2', 'src/ops/a.ts:4']);
  });

  it('abandons no work in a race', () => expect(noAbandonedWork(real)).toEqual([]));

  it('is caught racing without a reason', () => {
    const bare = 'await Promise.race([work, timeout]);';
    const found = noAbandonedWork([
      file('src/infra/bare.ts', bare),
      file('src/infra/empty-reason.ts', `// race: ok\n${bare}`),
      file('src/infra/too-far-away.ts', `// race: the loser is a timer that is cleared\n\n${bare}`),
      file('src/infra/above.ts', `// race: the loser is a timer that is cleared\n${bare}`),
      file('src/infra/two-lines.ts', `  // race: the loser is a timer,\n  // cleared below\n  ${bare}`),
      file('src/infra/beside.ts', `${bare} // race: the loser is a timer that is cleared`),
    ]);
    expect(places(found)).toEqual([
      'src/infra/bare.ts:1',
      'src/infra/empty-reason.ts:2',
      'src/infra/too-far-away.ts:3',
    ]);
  });

  it('is finished', () => expect(nothingUnfinished(real)).toEqual([]));

  it('is caught unfinished', () => {
    const marks = ['TO', 'FIX', 'HA'].map((head, index) => `x; // ${head}${['DO', 'ME', 'CK'][index]} later`);
    const found = nothingUnfinished([file('a.ts', marks.join('\n')), file('b.ts', 'const todo = "methods";')]);
    expect(places(found)).toEqual(['a.ts:1', 'a.ts:2', 'a.ts:3']);
  });
});

it('the real tree was read', () => {
  expect(real.map(({ path }) => path)).toContain('test/architecture/names.spec.ts');
  expect(real.some(({ path }) => path.startsWith('src/'))).toBe(true);
});
