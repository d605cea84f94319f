import { createServer, type Server } from 'node:net';
import pg from 'pg';
import { connectionSettings } from '../../../src/infra/database/data-source.js';
import { eventually } from '../../support/eventually.js';
import { TcpProxy } from '../../support/tcp-proxy.js';

/** A message of Postgres: its type, and its length counted. */
function message(type: string, body: string): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeUInt32BE(4 + body.length, 1);
  return Buffer.concat([head, Buffer.from(body, 'latin1')]);
}

describe('a server that ends a connection in the moment it is ready', () => {
  let server: Server;
  let welcomed = 0;
  beforeAll(async () => {
    const fatal = 'SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0';
    const welcome = Buffer.concat([message('R', '\0\0\0\0'), message('Z', 'I'), message('E', fatal)]);
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      // In one piece: the client reads that it is connected and that it is over before anybody is told of either.
      socket.once('data', () => {
        welcomed += 1;
        socket.end(welcome);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => server.close());

  it('costs the query that wanted it, and not the process', async () => {
    const address = server.address() as { port: number };
    const pool = new pg.Pool(connectionSettings(`postgres://a:b@127.0.0.1:${address.port}/c`, 'test'));
    pool.on('error', () => undefined);
    // As the library does it that the requests go through: the user of a connection comes to it a moment later.
    const client = await pool.connect();
    await expect(client.query('select 1')).rejects.toThrow();
    client.release(true);
    await eventually(() => pool.totalCount === 0, { label: 'the connection is forgotten' });
    expect(welcomed).toBe(1);
    await pool.end();
  });
});

describe('a server that no longer answers', () => {
  let proxy: TcpProxy;
  let pool: pg.Pool;
  beforeAll(async () => {
    const url = new URL(process.env['TEST_POSTGRES_URL'] ?? '');
    const target = Number(url.port);
    proxy = await TcpProxy.start({ targets: () => [target], postgres: true });
    url.port = String(proxy.port);
    pool = new pg.Pool({ ...connectionSettings(url.href, 'test'), query_timeout: 300, max: 1 });
    pool.on('error', () => undefined);
  });
  afterAll(async () => {
    await pool.end();
    await proxy.stop();
  });

  it('costs what was asked of it, at the deadline, and the connection; the next one is served', async () => {
    await pool.query('select 1');
    const client = await pool.connect();
    proxy.swallow(['down']);
    const answers = [client.query('select 2'), client.query('select 3')];
    const outcomes = await Promise.allSettled(answers);
    expect(outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason?.message)).toEqual([
      'Query read timeout',
      'Query read timeout',
    ]);
    client.release(true);
    proxy.heal();
    await expect(pool.query('select 4 as n')).resolves.toMatchObject({ rows: [{ n: 4 }] });
  });

  it('is not suspected while it answers in time', async () => {
    const longerThanTheDeadline = Array.from({ length: 5 }, () => 'select pg_sleep(0.1)');
    for (const sql of longerThanTheDeadline) await pool.query(sql);
    const before = (await pool.query('select pg_backend_pid() as pid')).rows[0].pid;
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect((await pool.query('select pg_backend_pid() as pid')).rows[0].pid).toBe(before);
  });
});
