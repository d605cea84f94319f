import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { eventually } from '../../../test/support/eventually.js';
import { metrics } from '../metrics/metrics.js';
import { createLogger } from './logger.js';
import { removeUnmaskedLeftovers, UnmaskedCopy } from './unmasked-copy.js';

const NUMBER = '+14155550132';
let directory: string;
const copies: UnmaskedCopy[] = [];
const sample = async (name: 'log_unmasked_active' | 'log_unmasked_lines_total') =>
  (await metrics.registry.getSingleMetric(name)?.get())?.values[0]?.value;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'nmc-unmasked-'));
});
afterEach(() => {
  for (const copy of copies.splice(0)) copy.end();
  rmSync(directory, { recursive: true });
});

function logging(untilMs: number) {
  let ends = 0;
  const onEnd = () => void ends++;
  const copy = new UnmaskedCopy({ directory: join(directory, 'data'), until: new Date(Date.now() + untilMs), onEnd });
  copies.push(copy);
  const main: string[] = [];
  const sink = new Writable({ write: (chunk, _encoding, done) => done(void main.push(String(chunk))) });
  const logger = createLogger({ level: 'info', bodyPreview: true, unmasked: copy }, sink);
  return { copy, logger, main, ends: () => ends };
}

describe('the unmasked copy of the log', () => {
  it('has what the main stream masks, for nobody but its owner to read, counted', async () => {
    const { copy, logger, main } = logging(60_000);
    const before = (await sample('log_unmasked_lines_total')) ?? 0;
    logger.info({ from: NUMBER }, 'a text');
    expect(JSON.parse(readFileSync(copy.file, 'utf8'))).toMatchObject({ from: NUMBER, message: 'a text' });
    expect(statSync(copy.file).mode & 0o777).toBe(0o600);
    expect(JSON.parse(main.join(''))).toMatchObject({ from: '***0132', message: 'a text' });
    expect(await sample('log_unmasked_active')).toBe(1);
    expect(await sample('log_unmasked_lines_total')).toBe(before + 1);
  });

  it('shows of a body no more than the main stream does', () => {
    const { copy, logger } = logging(60_000);
    logger.info({ body_preview: `ring ${NUMBER} ${'very '.repeat(20)}soon` }, 'a text');
    expect(readFileSync(copy.file, 'utf8')).not.toMatch(/4155550132|soon/);
  });

  it('is gone when its time is over, while the log goes on', async () => {
    const { copy, logger, main, ends } = logging(150);
    logger.info({ from: NUMBER }, 'before');
    expect(existsSync(copy.file)).toBe(true);
    await eventually(() => !existsSync(copy.file), { label: 'the file is deleted' });
    logger.info({ from: NUMBER }, 'after');
    expect(existsSync(copy.file)).toBe(false);
    expect(main.map((line) => JSON.parse(line))).toMatchObject([
      { from: '***0132', message: 'before' },
      { from: '***0132', message: 'after' },
    ]);
    expect(ends()).toBe(1);
    expect(await sample('log_unmasked_active')).toBe(0);
  });

  it('takes no line after its time, even when no timer has come yet', () => {
    const { copy, logger } = logging(20);
    const until = Date.now() + 20;
    while (Date.now() < until); // the loop keeps every timer waiting, as a suspended machine does
    logger.info({ from: NUMBER }, 'too late');
    expect(existsSync(copy.file)).toBe(false);
  });

  it('writes into no file that is there already, nor through a link', () => {
    const { copy } = logging(60_000);
    copy.end();
    const elsewhere = join(directory, 'elsewhere');
    symlinkSync(elsewhere, copy.file);
    expect(() => logging(60_000)).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    expect(existsSync(elsewhere)).toBe(false);
  });

  it('of a process that was killed is deleted by the next start; of one that runs it stays', () => {
    const running = `log-unmasked.${process.ppid}.ndjson`;
    const own = `log-unmasked.${process.pid}.ndjson`;
    for (const name of ['log-unmasked.999999999.ndjson', own, running, 'log-unmasked.1.ndjson', 'demo.log']) {
      writeFileSync(join(directory, name), NUMBER);
    }
    // A process with this number runs, but nothing has written the file for longer than any copy lives.
    const longAgo = Date.now() / 1000 - 5 * 3600;
    utimesSync(join(directory, 'log-unmasked.1.ndjson'), longAgo, longAgo);
    removeUnmaskedLeftovers(directory);
    expect(readdirSync(directory).sort()).toEqual(['demo.log', running].sort());
    removeUnmaskedLeftovers(join(directory, 'not-there'));
  });
});
