import { Injectable } from '@nestjs/common';
import { PinoLogger } from 'nestjs-pino';
import { PROVIDERS, type Provider } from '../../common/metrics/catalogue.js';
import { metrics } from '../../common/metrics/metrics.js';
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

/** The name of a gate: whose account at which provider. */
export type GateName = `${Provider}:${string}`;

/** Whoever was already under way when the probe went waits a moment for its answer. */
const PROBE_LOOK_MS = 50;

interface Gate {
  readonly provider: Provider;
  state: GateState;
  opening?: NodeJS.Timeout;
}

/** What somebody does who has work waiting behind gates. */
export interface GateWatcher {
  /** A gate that let requests through lets none through any more. */
  onShut(name: string): void;
  /** Some gate lets more through than before. */
  onOpen(): void;
}

/**
 * One gate for each account at a provider: a circuit breaker and a token bucket, fed by every request's end. It holds
 * back nobody by itself; whoever has a choice asks before it begins. Each process learns for itself, so that a provider
 * that is down sees one probe a cool-down from each of them.
 */
@Injectable()
export class ProviderGates {
  private readonly gates = new Map<string, Gate>();
  private readonly watchers: GateWatcher[] = [];

  constructor(
    private readonly logger: PinoLogger,
    private readonly limits: GateLimits,
  ) {
    for (const provider of PROVIDERS) metrics.set('provider_breaker_open', 0, { provider });
  }

  watch(watcher: GateWatcher): void {
    this.watchers.push(watcher);
  }

  /** A request begins; what is answered must be called once with how it ended. */
  enter(provider: Provider, account: string): (verdict: Verdict) => void {
    const name: GateName = `${provider}:${account}`;
    const gate = this.gates.get(name) ?? { provider, state: freshGate(performance.now(), this.limits) };
    this.gates.set(name, gate);
    const { state, isProbe } = enter(gate.state, performance.now(), this.limits);
    gate.state = state;
    return (verdict) => {
      const before = gate.state;
      const now = performance.now();
      gate.state = leave(before, { isProbe, verdict }, now, this.limits, Math.random());
      if (verdict.kind === 'throttled') metrics.increment('provider_throttled_total', { provider });
      this.tell(name, gate, before, now);
    };
  }

  /** How many may be under way through a gate at once, those that are included; 0: it is shut. */
  slots(name: string): number {
    const gate = this.gates.get(name);
    if (!gate) return Number.POSITIVE_INFINITY;
    const now = performance.now();
    const slots = slotsOf(gate.state, now, this.limits);
    if (slots === 0) this.openLater(gate, now);
    return slots;
  }

  /** How long not to begin a request, in ms; 0: it may be made. */
  waitMs(provider: Provider, account: string): number {
    const gate = this.gates.get(`${provider}:${account}` satisfies GateName);
    if (!gate) return 0;
    const { state } = gate;
    return state.isProbing ? PROBE_LOOK_MS : opensInMs(state, performance.now(), this.limits);
  }

  /**
   * The gates of which no more should be taken in at will when `held` rows of each are held already, and those of them
   * that wait for a probe.
   */
  narrow(held: (name: string) => number): { full: string[]; toProbe: string[] } {
    const full: string[] = [];
    const toProbe: string[] = [];
    for (const [name, gate] of this.gates) {
      if (isIdle(gate.state, performance.now(), this.limits)) this.forget(name, gate);
      else {
        const isFull = held(name) >= this.slots(name);
        const isHalfOpen = gate.state.openings > 0;
        if (isFull || isHalfOpen) full.push(name);
        if (!isFull && isHalfOpen) toProbe.push(name);
      }
    }
    return { full, toProbe };
  }

  private tell(name: GateName, { provider, state }: Gate, before: GateState, now: number): void {
    if (state.openings > 0 !== before.openings > 0 || state.cause !== before.cause) {
      this.show(provider);
      const level = state.cause === undefined ? 'info' : state.cause === 'credentials' ? 'error' : 'warn';
      const what = state.cause === undefined ? 'works again' : 'is left alone';
      this.logger[level]({ provider, gate: name, reason: state.cause ?? before.cause }, `provider ${what}`);
    }
    const [slots, slotsBefore] = [slotsOf(state, now, this.limits), slotsOf(before, now, this.limits)];
    if (slots === 0 && slotsBefore > 0) for (const watcher of this.watchers) watcher.onShut(name);
    if (slots > 0 && before.openings > state.openings) for (const watcher of this.watchers) watcher.onOpen();
  }

  private forget(name: string, { provider, state }: Gate): void {
    this.gates.delete(name);
    if (state.openings > 0) this.show(provider);
  }

  private show(provider: Provider): void {
    const open = [...this.gates.values()].filter((gate) => gate.provider === provider && gate.state.openings > 0);
    metrics.set('provider_breaker_open', open.length, { provider });
  }

  /** One alarm a gate; whoever waits looks again. */
  private openLater(gate: Gate, now: number): void {
    gate.opening ??= setTimeout(
      () => {
        gate.opening = undefined;
        for (const watcher of this.watchers) watcher.onOpen();
      },
      opensInMs(gate.state, now, this.limits) + 1,
    ).unref();
  }
}
