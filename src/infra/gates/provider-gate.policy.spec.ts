import {
  enter,
  freshGate,
  GateLimits,
  type GateState,
  isIdle,
  leave,
  opensInMs,
  slotsOf,
  type Verdict,
} from './provider-gate.policy.js';

const limits = new GateLimits();
const DOWN: Verdict = { kind: 'down' };
const ANSWERED: Verdict = { kind: 'answered' };
const CREDENTIALS: Verdict = { kind: 'credentials' };
const busy = (retryAfterMs?: number): Verdict => ({ kind: 'throttled', retryAfterMs });

/** A gate in time: requests that take no time, unless they overlap on purpose. */
class Gate {
  state: GateState = freshGate(0, limits);
  now = 0;

  at(now: number): this {
    this.now = now;
    return this;
  }

  begin(): (verdict: Verdict, random?: number) => this {
    const { state, isProbe } = enter(this.state, this.now, limits);
    this.state = state;
    return (verdict, random = 0) => {
      this.state = leave(this.state, { isProbe, verdict }, this.now, limits, random);
      return this;
    };
  }

  request(verdict: Verdict, times = 1, random = 0): this {
    for (let i = 0; i < times; i += 1) this.begin()(verdict, random);
    return this;
  }

  get slots(): number {
    return slotsOf(this.state, this.now, limits);
  }

  get opensInMs(): number {
    return opensInMs(this.state, this.now, limits);
  }
}

describe('the breaker', () => {
  it('does not open for a glitch: four failures, or more with an answer between', () => {
    const gate = new Gate().request(DOWN, 4);
    expect(gate.slots).toBeGreaterThan(100);
    gate.request(ANSWERED).request(DOWN, 4);
    expect(gate.slots).toBeGreaterThan(100);
  });

  it('opens after five in a row, for one second less its jitter', () => {
    expect(new Gate().request(DOWN, 5)).toMatchObject({ slots: 0, opensInMs: 1_000 });
    expect(new Gate().request(DOWN, 5, 0.999).opensInMs).toBe(501);
  });

  it('then lets one probe through, and closes with its answer', () => {
    const gate = new Gate().request(DOWN, 5).at(1_000);
    expect(gate.slots).toBe(1);
    const probe = gate.begin();
    expect(gate.state.isProbing).toBe(true);
    probe(ANSWERED);
    expect(gate.slots).toBeGreaterThan(100);
    expect(gate.request(DOWN, 4).slots).toBeGreaterThan(100);
  });

  it('is asked again within two seconds twice over, so that a short outage costs no promise, and later seldom', () => {
    const gate = new Gate().request(DOWN, 5);
    const waits = Array.from({ length: 7 }, () => {
      const waitMs = gate.opensInMs;
      gate.at(gate.now + waitMs).request(DOWN);
      return waitMs;
    });
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  });

  it('does not open further by what was under way when it opened, nor close by it', () => {
    const gate = new Gate();
    const underWay = Array.from({ length: 20 }, () => gate.begin());
    for (const end of underWay.slice(0, 18)) end(DOWN);
    expect(gate.state.openings).toBe(1);
    gate.at(1_000);
    const probe = gate.begin();
    underWay[18]?.(ANSWERED);
    underWay[19]?.(DOWN);
    expect(gate.state).toMatchObject({ openings: 1, isProbing: true });
    probe(DOWN);
    expect(gate.state).toMatchObject({ openings: 2, isProbing: false, inFlight: 0 });
  });

  it('counts a refusal as an answer: the provider is there', () => {
    expect(new Gate().request(ANSWERED, 50).state).toMatchObject({ failures: 0, openings: 0 });
  });

  it('opens at once when the credentials are refused, and closes when they are taken', () => {
    const gate = new Gate().request(CREDENTIALS);
    expect(gate.slots).toBe(0);
    expect(gate.state.cause).toBe('credentials');
    expect(gate.at(1_000).request(ANSWERED).state.cause).toBeUndefined();
  });
});

describe('the token bucket', () => {
  it('is not felt before the provider throttles', () => {
    expect(new Gate().request(ANSWERED, 400).slots).toBe(100);
  });

  it('shuts for as long as a 429 asks, and no probe is needed then', () => {
    const gate = new Gate().request(ANSWERED, 40).request(busy(7_000));
    expect(gate).toMatchObject({ slots: 0, opensInMs: 7_000 });
    expect(gate.at(7_000).slots).toBeGreaterThan(40);
  });

  it('goes on at half of what the account bore, from an empty bucket', () => {
    const gate = new Gate().request(ANSWERED, 39).request(busy());
    expect(gate.state.rate).toBe(20);
    expect(gate).toMatchObject({ slots: 0, opensInMs: 50 });
    expect(gate.at(50).slots).toBe(1);
    expect(gate.at(50).request(ANSWERED).slots).toBe(0);
  });

  it('halves again only for what was not under way at the same time', () => {
    const gate = new Gate().request(ANSWERED, 39).request(busy(), 20);
    expect(gate.state.rate).toBe(20);
    gate.at(1_500).request(ANSWERED, 19).request(busy());
    expect(gate.state.rate).toBe(17.5);
  });

  it('never makes callers wait for one odd 429: a handful goes through within a second', () => {
    const gate = new Gate().request(busy());
    expect(gate.opensInMs).toBeLessThanOrEqual(500);
    expect(gate.at(1_000).slots).toBeGreaterThanOrEqual(10);
  });

  it('grows by ten a second, up to its ceiling, and has nothing to remember then', () => {
    const gate = new Gate().request(ANSWERED, 39).request(busy());
    expect(gate.at(3_000).slots).toBe(50);
    expect(isIdle(gate.state, 47_000, limits)).toBe(false);
    expect(gate.at(3_600_000).slots).toBe(limits.rateCeiling);
    expect(isIdle(gate.state, gate.now, limits)).toBe(true);
  });

  it('counts those under way as slots they have, and no longer when they end', () => {
    const gate = new Gate().request(ANSWERED, 39).request(busy()).at(100);
    expect(gate.slots).toBe(2);
    const [one, two] = [gate.begin(), gate.begin()];
    expect(gate.slots).toBe(2);
    one(ANSWERED);
    two(ANSWERED);
    expect(gate.slots).toBe(0);
  });
});

it('an open breaker through which nobody asks any more is forgotten after ten minutes', () => {
  const gate = new Gate().request(DOWN, 5);
  expect(isIdle(gate.state, 600_000, limits)).toBe(false);
  expect(isIdle(gate.state, 601_001, limits)).toBe(true);
});

it('a gate that nothing passes through any more is forgotten, one that has seen failures is not', () => {
  const gate = new Gate().request(ANSWERED);
  expect(isIdle(gate.state, 1_000, limits)).toBe(true);
  expect(isIdle(gate.request(DOWN).state, 3_600_000, limits)).toBe(false);
});
