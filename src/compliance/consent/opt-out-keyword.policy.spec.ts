import { keywordOf } from './opt-out-keyword.policy.js';

describe('keywordOf', () => {
  it.each(['STOP', 'UNSUBSCRIBE', 'END', 'QUIT', 'STOPALL', 'REVOKE', 'OPTOUT', 'CANCEL'])('stops at %s', (word) => {
    expect(keywordOf(word)).toBe('stop');
    expect(keywordOf(word.toLowerCase())).toBe('stop');
  });

  it.each(['START', 'unstop'])('starts again at %s', (word) => expect(keywordOf(word)).toBe('start'));

  it.each(['HELP', 'info'])('helps at %s', (word) => expect(keywordOf(word)).toBe('help'));

  it.each([
    '  stop \n',
    'Stop.',
    '"STOP"',
    '“stop”',
    "'Stop!!'",
    '(stop)',
    '`stop`',
    'ＳＴＯＰ',
    'ＳＴＯＰ！',
    's\u200bto\u200dp',
    '\u202estop\u202c',
    'stop\u0000',
    'Stop all',
    'opt-out'.replace('-', ' '),
    `stop${' '.repeat(2_000)}`,
  ])('sees through the dress of %j', (body) => {
    expect(keywordOf(body)).toBe('stop');
  });

  it.each(['“Start.”', ' ＳＴＡＲＴ ', 'Start\n'])('sees through the dress of %j', (body) => {
    expect(keywordOf(body)).toBe('start');
  });

  it.each([
    '',
    '.',
    '👍',
    'stop by at 5',
    "my toilet won't stop running",
    'please stop',
    'STOP please',
    'cancel my appointment',
    'the end',
    'nonstop',
    'start tomorrow',
    'un stop',
    'help me',
    'yes',
    'constructor',
    `${'!'.repeat(60_000)}a`,
  ])('takes %j for no keyword', (body) => {
    expect(keywordOf(body)).toBeUndefined();
  });

  it('believes what the provider has done already over the body', () => {
    expect(keywordOf('please leave me alone', 'STOP')).toBe('stop');
    expect(keywordOf('STOP', 'start')).toBe('start');
    expect(keywordOf('what is this', 'HELP')).toBe('help');
  });

  it.each([undefined, '', 'RESUME'])('reads the body when the provider says %j', (optOutType) => {
    expect(keywordOf('STOP', optOutType)).toBe('stop');
  });
});
