import { Writable } from 'node:stream';
import { runInContext } from '../context/context.js';
import { AppError } from '../errors/app-error.js';
import { metrics } from '../metrics/metrics.js';
import { createLogger } from './logger.js';

function capture(level = 'info', bodyPreview?: boolean) {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()));
      done();
    },
  });
  return { logger: createLogger({ level, bodyPreview }, sink), lines };
}

const journey = { correlationId: 'c-1', causationId: 'e-1', tenantId: 't-1', module: 'telephony' } as const;

describe('the logger', () => {
  it('writes the specified fields, with the unit of work it runs in', () => {
    const { logger, lines } = capture();
    runInContext({ ...journey }, () => logger.warn({ status: 503 }, 'refused'));
    expect(lines[0]).toEqual({
      level: 'warn',
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      module: 'telephony',
      tenant_id: 't-1',
      correlation_id: 'c-1',
      causation_id: 'e-1',
      status: 503,
      message: 'refused',
    });
  });

  it('says outright that there is no tenant and no journey where there is none', () => {
    const { logger, lines } = capture();
    logger.info('starting');
    expect(lines[0]).toMatchObject({ module: 'infra', tenant_id: null, correlation_id: null });
  });

  it('turns an error into its code, its message and a hash of its stack', () => {
    const { logger, lines } = capture();
    const error = new AppError({ code: 'telephony.number_taken', status: 409, message: 'A number is taken' });
    logger.error({ err: error }, 'refused');
    expect(lines[0]).toMatchObject({
      error_code: 'telephony.number_taken',
      error_message: 'A number is taken',
      stack_hash: expect.stringMatching(/^[0-9a-f]{12}$/),
      top_frame: expect.stringContaining('logger.spec'),
    });
    expect(lines[0]).not.toHaveProperty('stack');
    expect(lines[0]).not.toHaveProperty('err');
  });

  it('shows the stack at debug level only, redacted', () => {
    const { logger, lines } = capture('debug');
    logger.error({ err: new Error('no route to +14155550132') }, 'failed');
    expect(lines[0]?.['stack']).toContain('***0132');
    expect(lines[0]?.['stack']).toContain('logger.spec');
  });

  it.each([
    ['the message', (log: ReturnType<typeof capture>['logger']) => log.info('call from +14155550132')],
    ['a format argument', (log: ReturnType<typeof capture>['logger']) => log.info('call from %s', '+14155550132')],
    ['a field', (log: ReturnType<typeof capture>['logger']) => log.info({ caller: '+14155550132' }, 'call')],
    ['a child binding', (log: ReturnType<typeof capture>['logger']) => log.child({ to: '+14155550132' }).info('call')],
    ['an error', (log: ReturnType<typeof capture>['logger']) => log.info({ err: new Error('bad +14155550132') }, 'x')],
  ])('masks a number in %s', (_where, write) => {
    const { logger, lines } = capture();
    write(logger);
    expect(JSON.stringify(lines)).toContain('***0132');
    expect(JSON.stringify(lines)).not.toContain('4155550132');
  });

  it('counts what it masked', async () => {
    const { logger } = capture();
    const phones = async () =>
      (await metrics.registry.getSingleMetric('log_redactions_total')?.get())?.values.find(
        ({ labels }) => labels['kind'] === 'phone',
      )?.value ?? 0;
    const before = await phones();
    logger.info('one +14155550132, two +14155550133');
    expect((await phones()) - before).toBe(2);
  });

  it('leaves a body out, unless previews are switched on', () => {
    const body = 'Boiler broken, ring 4155550132 or jane@example.com as soon as you can';
    const off = capture();
    off.logger.info({ body_preview: body }, 'a text');
    expect(off.lines[0]).not.toHaveProperty('body_preview');
    const on = capture('info', true);
    on.logger.info({ body_preview: body }, 'a text');
    expect(on.lines[0]?.['body_preview']).toBe('Boiler broken, ring ***0132 or ***@*** as soon as ');
    on.logger.info({ body_preview: undefined }, 'a text');
    expect(on.lines[1]).not.toHaveProperty('body_preview');
  });

  it.each([
    ['a text', 'rejected +14155550132', 'rejected ***0132'],
    ['an object with a stack', { message: 'x', stack: 'Error\n    at secret.ts:1' }, '[object Object]'],
    ['nothing', undefined, 'undefined'],
  ])('shows no stack of %s that was thrown', (_what, thrown, shown) => {
    const { logger, lines } = capture();
    logger.error({ err: thrown }, 'failed');
    expect(lines[0]).toMatchObject({ error_message: shown, message: 'failed' });
    expect(JSON.stringify(lines[0])).not.toMatch(/secret\.ts|"stack"/);
  });
});
