import { type CallEvidence, determineCall } from './missed-call.policy.js';

function outcome(changes: Partial<CallEvidence>) {
  return determineCall({
    voiceMode: 'dial_owner',
    source: 'voice',
    status: 'ringing',
    alreadyAnswered: false,
    dialed: true,
    ...changes,
  });
}

const UNANSWERED = ['busy', 'no-answer', 'failed', 'canceled'];
const MODES = ['forward_target', 'dial_owner'] as const;
const SOURCES = ['voice', 'dial_result', 'voice_status'] as const;

describe('determineCall', () => {
  it.each(['ringing', 'queued', 'a status of next year'])(
    'takes a forwarded call for missed as soon as it arrives (%s)',
    (status) => {
      expect(outcome({ voiceMode: 'forward_target', status })).toBe('missed');
    },
  );

  it('waits while the owner is rung', () => {
    expect(outcome({})).toBe('undetermined');
  });

  it('does not wait when there is nobody to ring', () => {
    expect(outcome({ dialed: false })).toBe('missed');
  });

  it.each(UNANSWERED)('takes a dial result %s for missed', (status) => {
    expect(outcome({ source: 'dial_result', status })).toBe('missed');
  });

  it.each(['completed', 'answered'])('takes a dial result %s for answered', (status) => {
    expect(outcome({ source: 'dial_result', status })).toBe('answered');
  });

  it.each(UNANSWERED)('takes a caller who hung up while it rang for missed: voice status %s', (status) => {
    expect(outcome({ source: 'voice_status', status })).toBe('missed');
  });

  it('learns nothing from a completed call: the owner or his voicemail may have answered', () => {
    expect(outcome({ source: 'voice_status', status: 'completed', durationSeconds: 2 })).toBe('undetermined');
  });

  it('takes a completed call for missed when it is shorter than the tenant set', () => {
    const completed = { source: 'voice_status', status: 'completed', shortCallSeconds: 8 } as const;
    expect(outcome({ ...completed, durationSeconds: 7 })).toBe('missed');
    expect(outcome({ ...completed, durationSeconds: 8 })).toBe('undetermined');
    expect(outcome(completed)).toBe('undetermined');
  });

  it('applies the short-call rule to no dial result', () => {
    const short = { durationSeconds: 1, shortCallSeconds: 8 };
    expect(outcome({ source: 'dial_result', status: 'completed', ...short })).toBe('answered');
  });

  it('recovers a forwarded call by its end when its beginning was lost', () => {
    expect(outcome({ voiceMode: 'forward_target', source: 'voice_status', status: 'completed' })).toBe('missed');
  });

  it.each(['in-progress', 'ringing', '', 'COMPLETED', 'vanished'])('settles nothing by the status %j', (status) => {
    for (const voiceMode of MODES) {
      expect(outcome({ voiceMode, source: 'dial_result', status })).toBe('undetermined');
      expect(outcome({ voiceMode, source: 'voice_status', status })).toBe('undetermined');
    }
  });

  it('keeps an answered call answered, whatever comes later', () => {
    for (const voiceMode of MODES) {
      for (const source of SOURCES) {
        expect(outcome({ voiceMode, source, status: 'no-answer', alreadyAnswered: true })).toBe('answered');
      }
    }
  });
});
