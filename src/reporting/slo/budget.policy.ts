/** What happened in a window. */
export interface Verdicts {
  good: number;
  bad: number;
}

/**
 * How fast the budget burns: 1 spends exactly the budget over its period, 1/(1 - target) is a total outage.
 * Without calls nothing burns.
 */
export function burnRate({ good, bad }: Verdicts, target: number): number {
  const total = good + bad;
  return total === 0 ? 0 : bad / total / (1 - target);
}

/** What is left of the budget over its period: 1 untouched, 0 spent, and below 0 it says by how much. */
export function budgetRemaining({ good, bad }: Verdicts, target: number): number {
  const total = good + bad;
  return total === 0 ? 1 : 1 - bad / (total * (1 - target));
}

/**
 * How long the budget lasts at this burn, in the unit of its period: 0 once it is spent, undefined while nothing burns.
 */
export function timeToExhaustion(remaining: number, burn: number, period: number): number | undefined {
  if (remaining <= 0) return 0;
  return burn > 0 ? (remaining * period) / burn : undefined;
}
