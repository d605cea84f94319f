import { AppError } from '../errors/app-error.js';
import { requireBasicAuth } from './basic-auth.js';

const pairs = [
  { username: 'old', password: 'one' },
  { username: 'new', password: 'two:with:colons' },
];
const basic = (text: string, scheme = 'Basic') => `${scheme} ${Buffer.from(text).toString('base64')}`;

describe('basic auth', () => {
  it.each([basic('old:one'), basic('new:two:with:colons'), basic('old:one', 'basic')])('lets %s in', (header) => {
    expect(() => requireBasicAuth(header, pairs)).not.toThrow();
  });

  it('says who it is', () => {
    expect(requireBasicAuth(basic('new:two:with:colons'), pairs)).toBe('new');
  });

  it.each([
    ['nothing', undefined],
    ['an empty header', ''],
    ['a wrong password', basic('old:two')],
    ['the password of the other pair', basic('old:two:with:colons')],
    ['a prefix of the password', basic('new:two')],
    ['another scheme', basic('old:one', 'Bearer')],
    ['no colon', basic('oldone')],
  ])('refuses %s with 401', (_what, header) => {
    expect(() => requireBasicAuth(header, pairs)).toThrow(AppError);
  });

  it('refuses everybody where no pair is configured', () => {
    expect(() => requireBasicAuth(basic(':'), [])).toThrow(AppError);
  });
});
