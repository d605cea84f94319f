import fc from 'fast-check';
import { advance, isFinal, MESSAGE_STATES, type MessageState } from './delivery-state.policy.js';

const settle = (reports: readonly string[], from: MessageState = 'requested') =>
  reports.reduce<MessageState>(advance, from);

describe('advance', () => {
  it('follows a message from its request to its receipt', () => {
    const reports = ['submitting', 'accepted', 'queued', 'sending', 'sent', 'delivered'];
    const seen: MessageState[] = [];
    reports.reduce<MessageState>((state, report) => {
      seen.push(advance(state, report));
      return advance(state, report);
    }, 'requested');
    expect(seen).toEqual(reports);
  });

  it('ranks the states as the wire reports them', () => {
    const chain = [
      'requested',
      'submitting',
      'unknown',
      'needs_review',
      'accepted',
      'queued',
      'sending',
      'sent',
    ] as const;
    for (const [position, earlier] of chain.entries()) {
      for (const further of [...chain.slice(position + 1), 'canceled', 'failed', 'undelivered', 'delivered', 'read']) {
        expect(advance(earlier, further)).toBe(further);
        expect(settle([further, earlier])).toBe(further);
      }
    }
  });

  it('ignores a late "sent" after "delivered"', () => {
    expect(advance('delivered', 'sent')).toBe('delivered');
  });

  it.each(['undelivered', 'failed', 'canceled'] as const)('believes a receipt of delivery over %s', (failure) => {
    expect(advance(failure, 'delivered')).toBe('delivered');
    expect(advance('delivered', failure)).toBe('delivered');
  });

  it('puts read above delivered', () => {
    expect(settle(['read', 'delivered'])).toBe('read');
  });

  it.each(['unknown', 'needs_review'] as const)('lets any word of the provider resolve %s', (state) => {
    for (const report of MESSAGE_STATES.slice(MESSAGE_STATES.indexOf('accepted'))) {
      expect(advance(state, report)).toBe(report);
    }
  });

  it.each(['partially_delivered', 'receiving', 'received', 'Delivered', '', 'constructor', '__proto__'])(
    'keeps its state at the unknown status %j',
    (reported) => {
      for (const state of MESSAGE_STATES) expect(advance(state, reported)).toBe(state);
    },
  );

  it('comes to the same end in every order of the reports', () => {
    const report = fc.constantFrom<string>(...MESSAGE_STATES, 'partially_delivered', 'shiny_new_status');
    fc.assert(
      fc.property(fc.uniqueArray(report, { maxLength: 5 }), (reports) => {
        const ends = new Set(permutations(reports).map((order) => settle(order)));
        return ends.size === 1;
      }),
    );
  });

  it('comes to the same end when reports are repeated', () => {
    const shuffled = fc
      .array(fc.constantFrom(...MESSAGE_STATES))
      .chain((reports) =>
        fc.tuple(
          fc.constant(reports),
          fc.shuffledSubarray([...reports, ...reports], { minLength: reports.length * 2 }),
        ),
      );
    fc.assert(fc.property(shuffled, ([reports, again]) => settle(reports) === settle(again)));
  });
});

describe('isFinal', () => {
  it('expects nothing more after an end state, and a report after anything else', () => {
    const final = MESSAGE_STATES.filter(isFinal);
    expect(final).toEqual(['canceled', 'failed', 'undelivered', 'delivered', 'read']);
  });
});

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, index) =>
    permutations([...items.slice(0, index), ...items.slice(index + 1)]).map((rest) => [item, ...rest]),
  );
}
