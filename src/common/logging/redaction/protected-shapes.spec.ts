import { redactText } from '../redactor.js';
import { isIdOrTime } from './protected-shapes.js';

describe('a value that is an id or a time and nothing else', () => {
  it.each(['01a2240c-4a64-749f-93c6-e598b78426cc', '2026-11-28T21:25:18.055Z'])('is left alone: %s', (value) => {
    expect(isIdOrTime(value)).toBe(true);
    // A shortcut, not another rule.
    expect(redactText(value)).toBe(value);
  });

  it.each([
    ['a number of the length of an id', '4155550132 4155550132 4155550132 415'],
    ['a number of the length of a time', '4155550132 4155550132 41'],
    ['a number behind a time', '2026-11-28T21:25:18+4155'],
    ['an id of another alphabet', '01a2240c-4a64-749f-93c6-e598b78426cg'],
    ['an id with a word stuck to it', 'x01a2240c-4a64-749f-93c6-e598b78426c'],
  ])('is not %s', (_what, value) => expect(isIdOrTime(value)).toBe(false));
});
