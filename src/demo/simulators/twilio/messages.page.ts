import type { SimulatedMessage } from './ledger.js';
import { toResource } from './message.resource.js';

const DEFAULT_PAGE_SIZE = 50;
const MAX_PAGE_SIZE = 1_000;

/**
 * One page of the Messages list, newest first.
 *
 * `DateSent` filters on the date of sending, so a message that is still queued or accepted matches no `DateSent` at all.
 * Pages are linked by tokens that name a message: what arrives between two pages shifts nothing.
 */
export function listPage(url: URL, messages: readonly SimulatedMessage[]): Record<string, unknown> {
  const query = url.searchParams;
  const matching = messages
    .filter((message) => matches(message, query))
    .map((message, index) => ({ message, index }))
    .sort((a, b) => b.message.dateCreated.getTime() - a.message.dateCreated.getTime() || b.index - a.index)
    .map(({ message }) => message);
  const size = clamp(query.get('PageSize'), DEFAULT_PAGE_SIZE, 1, MAX_PAGE_SIZE);
  const page = clamp(query.get('Page'), 0, 0, Number.MAX_SAFE_INTEGER);
  const start = startOf(matching, query.get('PageToken'), size) ?? page * size;
  const items = matching.slice(start, start + size);
  const link = (number: number, token?: string) => {
    const target = new URLSearchParams(query);
    target.delete('PageToken');
    target.set('PageSize', String(size));
    target.set('Page', String(number));
    if (token !== undefined) target.set('PageToken', token);
    return `${url.pathname}?${target}`;
  };
  const last = items.at(-1);
  const first = items[0];
  return {
    first_page_uri: link(0),
    end: Math.max(start + items.length - 1, 0),
    previous_page_uri: start > 0 && first !== undefined ? link(Math.max(page - 1, 0), `PB${first.sid}`) : null,
    messages: items.map(toResource),
    uri: `${url.pathname}?${query}`,
    page_size: size,
    start,
    next_page_uri: start + size < matching.length && last !== undefined ? link(page + 1, `PA${last.sid}`) : null,
    page,
  };
}

function startOf(messages: readonly SimulatedMessage[], token: string | null, size: number): number | null {
  const index = token === null ? -1 : messages.findIndex(({ sid }) => sid === token.slice(2));
  if (index < 0) return null;
  return token?.startsWith('PB') ? Math.max(index - size, 0) : index + 1;
}

function matches(message: SimulatedMessage, query: URLSearchParams): boolean {
  const to = query.get('To');
  const from = query.get('From');
  if (to !== null && message.to !== to) return false;
  if (from !== null && message.from !== from) return false;
  return (
    sentWithin(message, query.get('DateSent'), (sent, start, end) => sent >= start && sent < end) &&
    sentWithin(message, query.get('DateSent<'), (sent, _start, end) => sent < end) &&
    sentWithin(message, query.get('DateSent>'), (sent, start) => sent >= start)
  );
}

/** A date means its whole UTC day, a time its second; an unreadable value filters nothing. */
function sentWithin(
  message: SimulatedMessage,
  value: string | null,
  test: (sent: number, start: number, end: number) => boolean,
): boolean {
  const start = Date.parse(value ?? '');
  if (Number.isNaN(start)) return true;
  if (message.dateSent === null) return false;
  const length = value?.includes('T') ? 1_000 : 86_400_000;
  return test(message.dateSent.getTime(), start, start + length);
}

function clamp(value: string | null, fallback: number, min: number, max: number): number {
  const number = Number.parseInt(value ?? '', 10);
  return Number.isNaN(number) ? fallback : Math.min(Math.max(number, min), max);
}
