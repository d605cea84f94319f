/**
 * What an answer, or its absence, says about the provider. `answered`: it is there, whatever it said. `down`: no
 * answer, or a 5xx. `credentials`: it does not know us, and will say so to everybody on this account.
 */
export type Verdict =
  | { kind: 'answered' | 'down' | 'credentials' }
  | { kind: 'throttled'; retryAfterMs: number | undefined };

export type Breakage = 'down' | 'credentials';

/**
 * The numbers of every gate. A caller waits for a text, so the breaker may cost less than the promise of five seconds:
 * after the first opening it is asked again within one second, and after the third one still within seven.
 */
export class GateLimits {
  /** Failures in a row that open the breaker. */
  failuresToOpen = 5;
  /** First cool-down; it doubles with every probe that fails. Jitter takes up to half of it off. */
  coolDownMs = 1_000;
  coolDownCapMs = 15_000;
  /** Requests a second at most; so high that only the provider's own 429 makes it felt. */
  rateCeiling = 500;
  /** However often it throttles: one caller's odd 429 must not make the next ones wait for seconds. */
  rateFloor = 2;
  /** Requests a second that are added each second after a 429. */
  rateGrowth = 10;
  /** An open breaker that nobody asked anything through for so long tells nothing any more. */
  forgetAfterMs = 600_000;
  /** Refusals for throttling within so long are one event: they were under way together. */
  slowDownOnceInMs = 1_000;
}

/** One account's gate. Times are `performance.now()`. */
export interface GateState {
  /** Failures in a row while the breaker is closed. */
  readonly failures: number;
  /** How often in a row the breaker opened; 0: it is closed. Open and past `shutUntil` is half-open. */
  readonly openings: number;
  readonly cause: Breakage | undefined;
  /** A request is deciding about the half-open breaker. */
  readonly isProbing: boolean;
  /** Nothing passes before: a cool-down, or what a 429 asked for. */
  readonly shutUntil: number;
  /** The token bucket, which holds one second's worth: requests a second after the latest 429, from where it grows. */
  readonly rate: number;
  readonly slowedAt: number;
  readonly tokens: number;
  readonly filledAt: number;
  /** Requests of the present second, and of the one before: what the account really bore. */
  readonly secondFrom: number;
  readonly passed: number;
  readonly passedBefore: number;
  /** Requests under way. */
  readonly inFlight: number;
}

export function freshGate(now: number, { rateCeiling }: GateLimits): GateState {
  return {
    ...{ failures: 0, openings: 0, cause: undefined, isProbing: false, shutUntil: 0, inFlight: 0 },
    ...{
      rate: rateCeiling,
      slowedAt: -Infinity,
      tokens: rateCeiling,
      filledAt: now,
      secondFrom: now,
      passed: 0,
      passedBefore: 0,
    },
  };
}

/** How many may be under way through it at once, those that are included. 0: shut. 1 while half-open: the probe. */
export function slotsOf(state: GateState, now: number, limits: GateLimits): number {
  if (now < state.shutUntil) return 0;
  if (state.openings > 0) return 1;
  return Math.floor(tokensAt(state, now, limits)) + state.inFlight;
}

/** Until there is a slot by time alone, in ms; 0 when there is one, or when only the probe's answer can tell. */
export function opensInMs(state: GateState, now: number, limits: GateLimits): number {
  if (now < state.shutUntil) return Math.ceil(state.shutUntil - now);
  const missing = state.openings > 0 ? 0 : 1 - tokensAt(state, now, limits);
  return missing <= 0 ? 0 : Math.ceil((missing / rateAt(state, now, limits)) * 1_000);
}

/** Whether it has nothing to remember. */
export function isIdle(state: GateState, now: number, limits: GateLimits): boolean {
  if (state.openings > 0) return state.inFlight === 0 && now - state.shutUntil > limits.forgetAfterMs;
  const isBusy = state.inFlight > 0 || state.failures > 0 || now < state.shutUntil;
  return !isBusy && tokensAt(state, now, limits) >= limits.rateCeiling;
}

/** A request is about to be made, and takes a token; the first one through a half-open breaker is its probe. */
export function enter(state: GateState, now: number, limits: GateLimits): { state: GateState; isProbe: boolean } {
  const isProbe = state.openings > 0 && !state.isProbing && now >= state.shutUntil;
  const isNewSecond = now - state.secondFrom >= 1_000;
  const entered = {
    ...state,
    isProbing: state.isProbing || isProbe,
    inFlight: state.inFlight + 1,
    tokens: Math.max(0, tokensAt(state, now, limits) - 1),
    filledAt: now,
    passed: isNewSecond ? 1 : state.passed + 1,
    ...(isNewSecond && { secondFrom: now, passedBefore: now - state.secondFrom < 2_000 ? state.passed : 0 }),
  };
  return { state: entered, isProbe };
}

/** It has ended. While the breaker is open only its probe is heard: the others began before. @param random in [0, 1) */
export function leave(
  before: GateState,
  { isProbe, verdict }: { isProbe: boolean; verdict: Verdict },
  now: number,
  limits: GateLimits,
  random: number,
): GateState {
  const state = { ...before, inFlight: before.inFlight - 1, isProbing: before.isProbing && !isProbe };
  if (verdict.kind === 'throttled') return slowed(closed(state, isProbe), verdict.retryAfterMs ?? 0, now, limits);
  if (state.openings > 0 && !isProbe) return state;
  if (verdict.kind === 'answered') return closed(state, true);
  const failures = state.failures + 1;
  const opens = isProbe || verdict.kind === 'credentials' || failures >= limits.failuresToOpen;
  if (!opens) return { ...state, failures };
  const openings = state.openings + 1;
  const coolDownMs = Math.min(limits.coolDownCapMs, limits.coolDownMs * 2 ** (openings - 1));
  return { ...state, failures: 0, openings, cause: verdict.kind, shutUntil: now + coolDownMs * (1 - random / 2) };
}

function closed(state: GateState, isHeard: boolean): GateState {
  if (!isHeard && state.openings > 0) return state;
  return { ...state, failures: 0, openings: 0, cause: undefined };
}

/** Half of what the account really bore, not of what it might have. */
function slowed(state: GateState, retryAfterMs: number, now: number, limits: GateLimits): GateState {
  const shutUntil = Math.max(state.shutUntil, now + retryAfterMs);
  if (now - state.slowedAt < limits.slowDownOnceInMs) return { ...state, shutUntil };
  const bore = Math.max(state.passed, state.passedBefore);
  const rate = Math.max(limits.rateFloor, Math.min(rateAt(state, now, limits), bore) / 2);
  return { ...state, shutUntil, rate, tokens: 0, filledAt: now, slowedAt: now };
}

function rateAt({ rate, slowedAt }: GateState, now: number, { rateCeiling, rateGrowth }: GateLimits): number {
  return Math.min(rateCeiling, rate + ((now - slowedAt) / 1_000) * rateGrowth);
}

function tokensAt(state: GateState, now: number, limits: GateLimits): number {
  const rate = rateAt(state, now, limits);
  return Math.min(Math.max(1, rate), state.tokens + ((now - state.filledAt) / 1_000) * rate);
}
