import { createServer, type Server } from 'node:net';
import pg from 'pg';
import { connectionSettings } from '../../../src/infra/database/data-source.js';
import { eventually } from '../../support/eventually.js';

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
