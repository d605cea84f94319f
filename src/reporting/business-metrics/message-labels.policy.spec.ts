import { failureCode, isLost, messageStatus } from './message-labels.policy.js';

it.each(['queued', 'sent', 'delivered', 'undelivered', 'failed'])('keeps the state %s', (state) => {
  expect(messageStatus(state)).toBe(state);
});

it('counts a state that it does not know as other', () => {
  expect(messageStatus('partially_delivered')).toBe('other');
  expect(messageStatus('')).toBe('other');
});

it('counts known error codes by themselves, unknown ones together, missing ones apart', () => {
  expect(failureCode(30034)).toBe('30034');
  expect(failureCode(99_999)).toBe('other');
  expect(failureCode(null)).toBe('none');
});

it.each([
  ['failed', true],
  ['undelivered', true],
  ['canceled', true],
  ['sent', false],
  ['delivered', false],
])('%s is the loss of a text: %s', (state, lost) => {
  expect(isLost(state)).toBe(lost);
});
