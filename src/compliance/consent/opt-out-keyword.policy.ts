/** What a text asks of us by a keyword: to stop, to start again, or for help. */
export type OptOutKeyword = 'stop' | 'start' | 'help';

/** The keywords that Twilio acts on by default, with REVOKE and OPTOUT since 47 CFR 64.1200(a)(10) of April 2025. */
const STOP_WORDS: ReadonlySet<string> = new Set([
  'STOP',
  'UNSUBSCRIBE',
  'END',
  'QUIT',
  'STOPALL',
  'REVOKE',
  'OPTOUT',
  'CANCEL',
]);
const START_WORDS: ReadonlySet<string> = new Set(['START', 'UNSTOP']);
const HELP_WORDS: ReadonlySet<string> = new Set(['HELP', 'INFO']);

/** One word, with nothing but punctuation around it. The classes are disjoint, so the time is linear in the body. */
const SOLE_WORD = /^[\p{P}\p{Sk}\s]*(\p{L}+)[\p{P}\p{Sk}\s]*$/u;

/**
 * The keyword that a whole text consists of, or undefined when it says anything else.
 *
 * Case, surrounding punctuation, invisible characters and full-width letters do not matter. Spacing inside a word is
 * forgiven for stopping only (`opt out`): a stop too many costs a text, a start too many breaks the law.
 *
 * @param optOutType Twilio's `OptOutType` (`STOP`, `START` or `HELP`). What the provider has done already wins over
 *   our reading of the body.
 */
export function keywordOf(body: string, optOutType?: string): OptOutKeyword | undefined {
  return keywordOfProvider(optOutType) ?? keywordOfBody(body);
}

function keywordOfProvider(optOutType: string | undefined): OptOutKeyword | undefined {
  switch (optOutType?.trim().toUpperCase()) {
    case 'STOP':
      return 'stop';
    case 'START':
      return 'start';
    case 'HELP':
      return 'help';
    default:
      return undefined;
  }
}

function keywordOfBody(body: string): OptOutKeyword | undefined {
  const visible = body.normalize('NFKC').replace(/[\p{Cc}\p{Cf}]/gu, (hidden) => (/\s/.test(hidden) ? ' ' : ''));
  if (STOP_WORDS.has(soleWord(visible.replace(/\s+/g, '')))) return 'stop';
  const word = soleWord(visible);
  if (START_WORDS.has(word)) return 'start';
  return HELP_WORDS.has(word) ? 'help' : undefined;
}

function soleWord(text: string): string {
  return SOLE_WORD.exec(text)?.[1]?.toUpperCase() ?? '';
}
