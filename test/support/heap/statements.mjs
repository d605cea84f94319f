import pg from 'pg';
import { connectionSettings } from '../../../dist/infra/database/data-source.js';

const text = 'select n, md5(n::text) from generate_series(1, 500) n';

/** Statements of one connection, one after the other. */
export function start() {
  const settings = connectionSettings(process.env.TEST_POSTGRES_URL ?? '', 'test');
  const pool = new pg.Pool({ ...settings, pipeline: true });
  return { steps: 2_000, step: () => pool.query({ text, rowMode: 'array' }), end: () => pool.end() };
}
