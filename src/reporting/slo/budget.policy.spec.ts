import { budgetRemaining, burnRate } from './budget.policy.js';

describe('the error budget', () => {
  it('burns at 1 when exactly the allowed share is bad, and at 20 when everything is', () => {
    expect(burnRate({ good: 95, bad: 5 }, 0.95)).toBeCloseTo(1);
    expect(burnRate({ good: 0, bad: 3 }, 0.95)).toBeCloseTo(20);
    expect(burnRate({ good: 0, bad: 3 }, 0.995)).toBeCloseTo(200);
  });

  it('does not burn without calls, and is whole then', () => {
    expect(burnRate({ good: 0, bad: 0 }, 0.95)).toBe(0);
    expect(budgetRemaining({ good: 0, bad: 0 }, 0.95)).toBe(1);
  });

  it('is half spent, spent, and overdrawn without a floor', () => {
    expect(budgetRemaining({ good: 975, bad: 25 }, 0.95)).toBeCloseTo(0.5);
    expect(budgetRemaining({ good: 95, bad: 5 }, 0.95)).toBeCloseTo(0);
    expect(budgetRemaining({ good: 80, bad: 20 }, 0.95)).toBeCloseTo(-3);
  });
});
