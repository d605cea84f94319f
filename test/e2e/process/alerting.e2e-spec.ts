import { SIMULATED_ACCOUNT } from '../../../src/demo/development.js';
import { TwilioSimulator } from '../../../src/demo/simulators/twilio/twilio-simulator.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { faster, HAS_MONITORING, Monitoring } from '../../support/monitoring.js';
import {
  basic,
  killAllSpawned,
  onboard,
  productionEnvironment,
  SCRAPER,
  SpawnedApp,
} from '../../support/spawned-app.js';

const BUSINESS = '+12125550178';
/** An alert that waits ten minutes waits 15 s here; see `faster` for what runs faster and what does not. */
const FACTOR = 40;
/** Longer than the `for` of whatever could fire over a healthy app within the test: 10 minutes. */
const QUIET_MS = 600_000 / FACTOR + 2_000;
const DEADLINE_MS = 60_000;
const LOST_SCRAPE = ['ServiceDown/page', 'TargetDown/page'];

it('time runs faster in what waits and what looks back, not in thresholds, labels and texts', () => {
  expect(faster('for: 10m\nscrape_interval: 15s\ngroup_wait: 0s', 10)).toBe(
    'for: 60000ms\nscrape_interval: 1500ms\ngroup_wait: 0ms',
  );
  expect(faster('increase(a{window="1h"}[1h] offset 1w) > 120', 100)).toBe(
    'increase(a{window="1h"}[36000ms] offset 6048000ms) > 120',
  );
  expect(faster('summary: "P95 (promised: 5s)"', 10)).toBe('summary: "P95 (promised: 5s)"');
});

const describeOrSkip = HAS_MONITORING ? describe : describe.skip;

describeOrSkip(
  'a real Prometheus and Alertmanager over the built app (skipped where they are not installed: apt-get install prometheus prometheus-alertmanager)',
  () => {
    let database: TestDatabase;
    let twilio: TwilioSimulator;
    let env: Awaited<ReturnType<typeof productionEnvironment>>;
    let app: SpawnedApp;
    let monitoring: Monitoring;

    beforeAll(async () => {
      database = await cloneDatabase();
      twilio = await TwilioSimulator.start({ ...SIMULATED_ACCOUNT });
      env = await productionEnvironment(database.url, twilio);
      twilio.webhookBaseUrl = env.PUBLIC_BASE_URL;
      await startApp();
      await onboard(env.PUBLIC_BASE_URL, { numbers: [BUSINESS] });
      monitoring = await Monitoring.start({ address: new URL(env.PUBLIC_BASE_URL).host, ...SCRAPER }, FACTOR);
    }, 90_000);
    afterAll(async () => {
      await monitoring?.stop();
      await killAllSpawned();
      await twilio?.stop();
      await database?.drop();
    });

    async function startApp(): Promise<void> {
      app = new SpawnedApp('main.js', { env });
      await app.ready(env.PUBLIC_BASE_URL, 40_000);
    }

    const call = (from: string) => twilio.placeCall({ from, to: BUSINESS });
    const fires = (label: string, names: readonly string[], meanwhile?: () => Promise<unknown>) =>
      eventually(
        async (signal) => {
          await meanwhile?.();
          expect(await monitoring.firing(signal)).toEqual(expect.arrayContaining([...names]));
        },
        { label, deadlineMs: DEADLINE_MS },
      );
    const isOver = (label: string, names: readonly string[]) =>
      eventually(
        async (signal) => {
          const firing = await monitoring.firing(signal);
          for (const name of names) expect(firing).not.toContain(name);
        },
        { label, deadlineMs: DEADLINE_MS },
      );

    it('fires nothing but the watchdog while all is well, and the dead man hears of it again and again', async () => {
      await call('+14155550120');
      await twilio.messageTo('+14155550120');
      // Prometheus takes seconds to its first scrape, which no factor shortens: until then there is no service.
      await eventually(async (signal) => (await monitoring.alerts(signal)).length === 1, {
        label: 'nothing but the watchdog is even pending',
        deadlineMs: DEADLINE_MS,
      });
      let quietFrom = Date.now();
      let earlier = monitoring.notifications.length;
      const fired = new Set<string>();
      await eventually(
        async (signal) => {
          for (const name of await monitoring.firing(signal)) fired.add(name);
          // A starved machine can lose a scrape, and nothing else is excused by that.
          if (LOST_SCRAPE.filter((name) => fired.delete(name)).length > 0) {
            quietFrom = Date.now();
            earlier = monitoring.notifications.length;
          }
          return Date.now() - quietFrom > QUIET_MS;
        },
        { label: 'nothing but the watchdog has fired for long enough', deadlineMs: 2 * DEADLINE_MS },
      );
      expect([...fired]).toEqual(['Watchdog/none']);
      await eventually(() => monitoring.sent('heartbeat', 'Watchdog').length >= 2, {
        label: 'the dead man has heard twice',
        deadlineMs: DEADLINE_MS,
      });
      const fresh = monitoring.notifications.slice(earlier).filter(({ status }) => status === 'firing');
      expect(fresh.filter(({ receiver }) => receiver !== 'heartbeat')).toEqual([]);
    }, 240_000);

    it('pages while Twilio hangs and while signatures are wrong, and stops when both are well again', async () => {
      const callers = ['1', '2', '3', '4', '5'].map((n) => `+1415555013${n}`);
      twilio.faults.always('hang');
      for (const from of callers) await call(from);
      const forge = () =>
        fetch(`${env.PUBLIC_BASE_URL}/webhooks/twilio/voice`, {
          method: 'POST',
          headers: { 'x-twilio-signature': 'forged' },
          body: new URLSearchParams({ CallSid: 'CA0', From: callers[0] ?? '', To: BUSINESS }),
        });
      await fires(
        'callers wait, the budget burns, signatures are wrong',
        [
          'FirstSmsCallsWaiting/page',
          'FirstSmsSloBreach/page',
          'FirstSmsSloBreach/ticket',
          'ErrorBudgetBurnFast/page',
          'WebhookSignaturesFailing/page',
        ],
        forge,
      );
      twilio.faults.clear();

      await eventually(
        async (signal) => {
          for (const name of ['FirstSmsCallsWaiting', 'FirstSmsSloBreach', 'WebhookSignaturesFailing'])
            expect(monitoring.sent('page', name)).not.toEqual([]);
          expect(await monitoring.stateOf('FirstSmsSloBreach', 'ticket', signal)).toBe('suppressed');
        },
        { label: 'the pager has been told, once an alert', deadlineMs: DEADLINE_MS },
      );
      const [page] = monitoring.sent('page', 'FirstSmsCallsWaiting');
      expect(page?.authorization).toBe('Bearer page-secret');
      expect(page?.alerts[0]?.annotations).toMatchObject({
        summary: expect.stringMatching(/^[345] callers of the last 15 minutes still have no text$/),
        runbook_url: 'docs/runbooks/FirstSmsCallsWaiting.md',
      });
      expect(monitoring.sent('ticket', 'FirstSmsSloBreach')).toEqual([]);

      for (const from of callers) await twilio.messageTo(from, 1, DEADLINE_MS);
      await isOver('nobody waits, nobody forges', ['FirstSmsCallsWaiting/page', 'WebhookSignaturesFailing/page']);
    }, 180_000);

    it('pages once when the app is gone, for the service and not for each of its parts, until it is back', async () => {
      await app.kill('SIGKILL');
      await fires('nothing can be scraped', ['ServiceDown/page', 'TargetDown/page']);
      await eventually(
        async (signal) => {
          expect(monitoring.sent('page', 'ServiceDown')).not.toEqual([]);
          expect(await monitoring.stateOf('TargetDown', 'page', signal)).toBe('suppressed');
        },
        { label: 'the pager has been told of the service', deadlineMs: DEADLINE_MS },
      );
      expect(monitoring.sent('page', 'TargetDown')).toEqual([]);
      await startApp();
      // The totals were not lost with it, and are there before anybody scrapes.
      const headers = basic(SCRAPER);
      const scraped = await (await fetch(`${env.PUBLIC_BASE_URL}/metrics`, { headers })).text();
      expect(scraped).toContain('\nkpi_calls_detected_total 6\n');
      expect(scraped).toContain('\nkpi_conversations_started_total 6\n');
      expect(scraped).toContain('\nslo_first_sms_events_total{result="bad"} 5\n');
      expect(scraped).toContain('\nslo_first_sms_bad_total{stage="provider"} 5\n');
      await isOver('it can be scraped again', ['ServiceDown/page', 'TargetDown/page']);
    }, 180_000);
  },
);
