import { connect, createServer, type Server } from 'node:net';
import pg from 'pg';
import { eventually } from './eventually.js';
import { Frames } from './postgres-frames.js';
import { TcpProxy } from './tcp-proxy.js';

const admin = new URL(process.env['TEST_POSTGRES_URL'] ?? '');
let proxy: TcpProxy;
const clients: pg.Client[] = [];

beforeEach(async () => {
  proxy = await TcpProxy.start({ targets: () => [Number(admin.port)], postgres: true });
});
afterEach(async () => {
  await proxy.stop();
  for (const client of clients.splice(0)) client.connection.stream.destroy();
});

async function connected(viaPort = proxy.port): Promise<pg.Client> {
  const url = new URL(admin);
  url.port = String(viaPort);
  const client = new pg.Client({ connectionString: url.href, query_timeout: 2_000 });
  client.on('error', () => undefined);
  clients.push(client);
  await client.connect();
  return client;
}

const one = async (client: pg.Client) => (await client.query('select 1 as one')).rows[0].one;

it('carries what it is given, as the peer it names', async () => {
  const client = await connected();
  const { rows } = await client.query(
    `select client_port, repeat('x', 300000) as much from pg_stat_activity where pid = pg_backend_pid()`,
  );
  expect(rows[0].much).toHaveLength(300_000);
  expect(proxy.connections.map((wire) => wire.localPort())).toEqual([rows[0].client_port]);
  await client.end();
  await eventually(() => proxy.connections.length === 0, { label: 'the end is passed on' });
});

it('delays each packet, and keeps their order', async () => {
  const client = await connected();
  proxy.latencyMs = 60;
  const startedAt = performance.now();
  const answers = await Promise.all([client.query('select 1 as n'), client.query('select 2 as n')]);
  expect(answers.map(({ rows }) => rows[0].n)).toEqual([1, 2]);
  expect(performance.now() - startedAt).toBeGreaterThan(119);
});

it('resets connections, those that are chosen', async () => {
  const [spared, cut] = [await connected(), await connected()];
  await cut.query('listen something');
  const ended = new Promise((resolve) => cut.once('end', resolve));
  expect(proxy.cut((wire) => wire.listens)).toBe(1);
  await ended;
  expect(await one(spared)).toBe(1);
});

it('swallows bytes without a word, a goodbye included, on the chosen connections', async () => {
  const [spared, listener] = [await connected(), await connected()];
  const { rows } = await listener.query('select pg_backend_pid() as pid');
  await listener.query('listen something');
  proxy.swallow(['up'], (wire) => wire.listens);
  await expect(listener.query('select 1')).rejects.toThrow('Query read timeout');
  listener.connection.stream.destroy();
  await eventually(() => proxy.connections.some((wire) => wire.isHalfOpen), { label: 'one end is gone' });
  const alive = 'select 1 from pg_stat_activity where pid = $1';
  expect((await spared.query(alive, [rows[0].pid])).rowCount).toBe(1);
  proxy.heal();
  await eventually(async () => (await spared.query(alive, [rows[0].pid])).rowCount === 0, {
    label: 'the server is told at last',
  });
});

it('leaves a connection that has lost something silent for good', async () => {
  const client = await connected();
  proxy.swallow(['down']);
  const lost = client.query('select 1');
  await expect(lost).rejects.toThrow('Query read timeout');
  expect(proxy.swallowed('down')).toBeGreaterThan(0);
  proxy.heal();
  await expect(client.query('select 1')).rejects.toThrow('Query read timeout');
  expect(await one(await connected())).toBe(1);
});

it('withholds notifications and nothing else', async () => {
  const [listener, teller] = [await connected(), await connected()];
  const heard: (string | undefined)[] = [];
  listener.on('notification', ({ payload }) => heard.push(payload));
  await listener.query('listen proxied');
  proxy.withholdNotifications = true;
  await teller.query(`notify proxied, 'withheld'`);
  expect(await one(listener)).toBe(1);
  proxy.withholdNotifications = false;
  await teller.query(`notify proxied, 'told'`);
  await eventually(() => heard.length > 0, { label: 'a notification' });
  expect(heard).toEqual(['told']);
});

it('lets a commit happen and loses its answer', async () => {
  const [writer, reader] = [await connected(), await connected(Number(admin.port))];
  await writer.query('select 1 as earlier');
  await writer.query('begin');
  const { rows } = await writer.query('select pg_current_xact_id()::text as id where $1', [true]);
  proxy.loseNextCommit((wire) => wire.issued('PG_CURRENT_XACT_ID') && !wire.issued('earlier'));
  expect(proxy.awaitsCommit).toBe(true);
  await expect(writer.query('COMMIT')).rejects.toThrow();
  expect(proxy.awaitsCommit).toBe(false);
  const status = await reader.query('select pg_xact_status($1::xid8) as status', [rows[0].id]);
  expect(status.rows).toEqual([{ status: 'committed' }]);
});

it('refuses, and listens again on the same port', async () => {
  const { port } = proxy;
  await connected();
  await proxy.refuse();
  await expect(connected()).rejects.toThrow('ECONNREFUSED');
  await proxy.accept();
  expect(proxy.port).toBe(port);
  expect(await one(await connected())).toBe(1);
});

it('takes the targets in turns, and passes over one that refuses', async () => {
  const servers: Server[] = [];
  const names: string[] = [];
  const ports: number[] = [];
  for (const name of ['a', 'b']) {
    const server = createServer((socket) => socket.end(name));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    servers.push(server);
    ports.push((server.address() as { port: number }).port);
  }
  const balancer = await TcpProxy.start({ targets: () => [...ports, 1] });
  const read = async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(balancer.port, '127.0.0.1');
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk;
      });
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
    names.push(answer);
  };
  for (let n = 0; n < 6; n += 1) await read();
  expect(names).toEqual(['a', 'b', 'a', 'a', 'b', 'a']);
  await balancer.stop();
  for (const server of servers) server.close();
});

it('finds messages however the stream is cut', () => {
  const startup = Buffer.from([0, 0, 0, 8, 1, 2, 3, 4]);
  const query = Buffer.from([0x51, 0, 0, 0, 6, 0x78, 0]);
  const frames = new Frames({ startup: true });
  const found = [...Buffer.concat([startup, query, query])].flatMap((byte) => frames.read(Buffer.from([byte])));
  expect(found).toEqual([startup, query, query]);
});
