import { newSid } from '../../src/demo/simulators/twilio/ledger.js';
import { eventually } from '../support/eventually.js';
import { basic, killAllSpawned, SCRAPER } from '../support/spawned-app.js';
import { FORM, Journal } from './form.js';
import { Gates } from './gates.js';
import { Load } from './load.js';
import { BUSINESS, type Member, World } from './world.js';

const journal = new Journal();
let world: World;
let gates: Gates;
beforeAll(async () => {
  world = await World.start();
  gates = await Gates.install(world);
}, 90_000);
afterEach(async () => {
  await gates.openAll();
  for (const { app } of world.members) app?.signal('SIGCONT');
  world.entrance = undefined;
  world.twilio.faults.clear();
});
afterAll(async () => {
  await gates.stop();
  await world.stop();
  await killAllSpawned();
});

const texts = (caller: string) => world.twilio.ledger.messagesTo(caller).length;
const textTo = (caller: string) =>
  eventually(() => texts(caller) > 0, { deadlineMs: 60_000, label: 'the caller has a text' });

async function leasesLost({ port }: Member): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`, { headers: basic(SCRAPER) });
  return Number(/^outbox_leases_lost_total (\d+)$/m.exec(await answer.text())?.[1]);
}

describe('row 3: a process that is frozen until its leases are over, at every step of a send', () => {
  const [begun, marked, asked, completing] = ['+14256000001', '+14256000002', '+14256000003', '+14256000004'];
  const endConnections = `
    select pg_terminate_backend(pid, 5000) from pg_stat_activity where client_port = any ($1) and wait_event = 'advisory'`;

  it('finds its rows taken over when it thaws, and nothing it still does counts', async () => {
    const [victim, other] = world.members as [Member, Member];
    world.entrance = [victim];
    world.twilio.faults.callbacks.always('drop');
    // It holds one text at each step, the last one first.
    const completion = await gates.close('completing');
    await world.call(completing);
    expect(await completion.caught()).toBe(victim);
    journal.note('one is held at its completion');
    world.twilio.faults.next({ kind: 'latency', ms: 2_000 }, { to: asked });
    await world.call(asked);
    await textTo(asked);
    journal.note('one is asking');
    const commit = await gates.close('marked');
    await world.call(marked);
    expect(await commit.caught()).toBe(victim);
    journal.note('one is held at the commit of its marker');
    const start = await gates.close('started');
    await world.call(begun);
    expect(await start.caught()).toBe(victim);

    journal.note('one is held at its start');
    victim.running.signal('SIGSTOP');
    const frozenAt = performance.now();
    world.entrance = [other];
    // The marker is committed; what else it was about to write is lost with its connections.
    await commit.open();
    await gateIsEmpty();
    await world.db.query(endConnections, [victim.database.connections.map((wire) => wire.localPort())]);
    journal.note('the marker is committed');
    await start.open();
    await completion.open();
    // As if the time of its leases had passed.
    await world.db.query('update infra.outbox_deliveries set leased_until = now() where owner is not null');
    await Promise.all([begun, asked, completing].map(textTo));
    journal.note('three texts are out');
    await eventually(() => performance.now() - frozenAt > 6_000, {
      deadlineMs: 10_000,
      label: 'its marker is too old to send by',
    });
    const lost = await leasesLost(other);
    victim.running.signal('SIGCONT');

    await textTo(marked);
    journal.note('all texts are out');
    expect(await world.verdict()).toEqual([]);
    expect([begun, marked, asked, completing].map(texts)).toEqual([1, 1, 1, 1]);
    await eventually(async () => (await leasesLost(victim)) > 0, {
      deadlineMs: 20_000,
      label: 'its late results are refused',
    });
    expect(await leasesLost(other)).toBe(lost);
  }, 120_000);

  /** Until the commits that were held up are done. */
  async function gateIsEmpty(): Promise<void> {
    const marker = `select 1 from telephony.send_attempts join telephony.messages using (message_id) where caller = $1`;
    await eventually(async () => (await world.db.query(marker, [marked])).rowCount === 1, {
      label: 'the marker is there',
    });
  }
});

describe('row 4: a rolling restart under load', () => {
  it('loses nothing and leaves not one outcome unknown', async () => {
    world.twilio.faults.always({ kind: 'latency', ms: 400 });
    const known = new Set((await world.evidence()).intents.map(({ messageId }) => messageId));
    const load = new Load(world, FORM.seed, { callers: 8, pauseMs: 10, repeats: 0 });
    for (const member of world.members) {
      const underWay = world.twilio.ledger.requests.length + 8;
      await eventually(() => world.twilio.ledger.requests.length >= underWay, {
        deadlineMs: 30_000,
        label: 'texts are under way',
      });
      expect(await member.running.kill('SIGTERM')).toEqual({ code: 0, signal: null });
      await member.start();
    }
    journal.note('both are replaced');
    await load.end();
    expect(await world.verdict()).toEqual([]);
    const attempts = (await world.evidence()).attempts.filter(({ messageId }) => !known.has(messageId));
    expect(attempts.length).toBeGreaterThan(16);
    expect(attempts.filter(({ resend, outcome }) => resend || outcome !== 'accepted')).toEqual([]);
  }, 120_000);
});

describe('row 11: a commit whose answer is lost', () => {
  it('is answered 503, and the repeated webhook finds it done: one text', async () => {
    const caller = '+14256000011';
    const call = { from: caller, to: BUSINESS, callSid: newSid('CA') };
    for (const { database } of world.members)
      database.loseNextCommit((wire) => wire.issued('telephony.webhook_events'));
    const refused = await world.twilio.placeCall(call);
    journal.note('refused');
    expect(refused.status).toBe(503);
    const { rows } = await world.db.query('select decision from telephony.calls where caller = $1', [caller]);
    expect(rows).toEqual([{ decision: 'reply' }]);
    for (const { database } of world.members) database.heal();
    const repeated = await world.twilio.placeCall({ ...call, withRetries: 5 });
    expect(repeated.status).toBe(200);
    expect(repeated.twiml).toContain('sending you a text message');
    world.placed.push({ callSid: call.callSid, caller, acknowledged: true });
    await textTo(caller);
    expect(await world.verdict()).toEqual([]);
    expect(texts(caller)).toBe(1);
  }, 60_000);
});
