import { budgetRemaining, burnRate, timeToExhaustion } from './budget.policy.js';

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

  it('lasts its period at a burn of 1, less the more is spent and the faster it goes', () => {
    expect(timeToExhaustion(1, 1, 30)).toBe(30);
    expect(timeToExhaustion(0.5, 10, 30)).toBeCloseTo(1.5);
  });

  it('is over when it is spent, and no forecast where nothing burns', () => {
    expect(timeToExhaustion(0, 3, 30)).toBe(0);
    expect(timeToExhaustion(-2, 0, 30)).toBe(0);
    expect(timeToExhaustion(0.5, 0, 30)).toBeUndefined();
  });
});
