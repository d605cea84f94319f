import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net';
import { PinoLogger } from 'nestjs-pino';
import { ProviderCall } from '../../../src/common/decorators/provider-call.decorator.js';
import { metrics } from '../../../src/common/metrics/metrics.js';
import { GateLimits } from '../../../src/infra/gates/provider-gate.policy.js';
import { ProviderGates } from '../../../src/infra/gates/provider-gates.service.js';
import {
  ProviderHttp,
  type ProviderRequest,
  type ProviderUnreachable,
} from '../../../src/infra/http/provider-http.client.js';
import { eventually } from '../../support/eventually.js';

const silent = new PinoLogger({ pinoHttp: { level: 'silent' } });
const http = new ProviderHttp(silent, new ProviderGates(silent, new GateLimits()));

class Client {
  @ProviderCall({ provider: 'jobber', endpoint: 'jobs.create' })
  create(request: ProviderRequest) {
    return http.request(request);
  }
}
const client = new Client();

/** What bytes the other side got, and how it behaves. */
let server: TcpServer | Server | undefined;
const sockets = new Set<Socket>();
let received = '';

async function serve(next: TcpServer | Server): Promise<string> {
  server = next;
  received = '';
  next.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
    });
  });
  await new Promise<void>((resolve) => next.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(next.address() as AddressInfo).port}`;
}

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  server = undefined;
});
afterAll(() => http.onApplicationShutdown());

const post = (url: string, timeoutMs = 2_000) => client.create({ method: 'POST', url, body: 'To=somebody', timeoutMs });
const failure = (url: string, timeoutMs?: number): Promise<ProviderUnreachable> =>
  post(url, timeoutMs).then(
    () => {
      throw new Error('it was answered');
    },
    (error: ProviderUnreachable) => error,
  );

/** The samples of the metric that counts them, by status. */
async function counted(): Promise<Record<string, number>> {
  const text = await metrics.registry.metrics();
  const sample = /^integration_http_requests_total\{(?=.*endpoint="jobs\.create").*status="(\w+)".*\} (\d+)$/gm;
  return Object.fromEntries([...text.matchAll(sample)].map(([, status, count]) => [status, Number(count)]));
}

describe('certain that nothing reached the provider', () => {
  it('when the connection is refused', async () => {
    const closed = await serve(createTcpServer());
    await new Promise((resolve) => server?.close(resolve));
    server = undefined;
    expect(await failure(`http://${closed}/`)).toMatchObject({
      kind: 'network',
      processed: 'no',
      code: 'ECONNREFUSED',
    });
  });

  it('when its name has no address', async () => {
    expect(await failure('http://provider.invalid/', 5_000)).toMatchObject({ kind: 'network', processed: 'no' });
  });

  it.each([
    ['hangs up', (socket: Socket) => socket.destroy(), 'network'],
    ['speaks no TLS', (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'), 'network'],
    ['says nothing', () => {}, 'timeout'],
  ] as const)('when it %s during the TLS handshake', async (_what, behave, kind) => {
    const address = await serve(createTcpServer((socket) => socket.once('data', () => behave(socket))));
    expect(await failure(`https://${address}/`, 300)).toMatchObject({ kind, processed: 'no' });
    expect(received).not.toContain('somebody');
    expect(received.length).toBeGreaterThan(0);
  });
});

describe('not certain', () => {
  it.each([
    ['resets after the request', (socket: Socket) => socket.resetAndDestroy(), 'network'],
    ['closes after the request', (socket: Socket) => socket.end(), 'network'],
    ['never answers', () => {}, 'timeout'],
    [
      'breaks off the answer',
      (socket: Socket) => socket.end('HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"s'),
      'network',
    ],
  ] as const)('when it %s', async (_what, behave, kind) => {
    const address = await serve(createTcpServer((socket) => socket.once('data', () => behave(socket))));
    expect(await failure(`http://${address}/`, 300)).toMatchObject({ kind, processed: 'unknown' });
    expect(received).toContain('To=somebody');
  });

  it('when a connection that was kept is reset under the next request', async () => {
    const address = await serve(
      createServer((request, response) => {
        request.resume();
        if (request.url === '/first') response.end('{}');
        else request.socket.resetAndDestroy();
      }),
    );
    expect((await post(`http://${address}/first`)).status).toBe(200);
    expect(await failure(`http://${address}/second`)).toMatchObject({ processed: 'unknown' });
    expect(sockets.size).toBe(1);
  });
});

describe('the deadline', () => {
  it('holds although bytes trickle in, and the connection is closed with it', async () => {
    const address = await serve(
      createServer((_request, response) => {
        response.writeHead(200, { 'content-length': '100000' });
        const trickle = setInterval(() => response.write('.'), 20);
        response.on('close', () => clearInterval(trickle));
      }),
    );
    const startedAt = performance.now();
    expect(await failure(`http://${address}/`, 400)).toMatchObject({ kind: 'timeout', processed: 'unknown' });
    const tookMs = performance.now() - startedAt;
    expect(tookMs).toBeGreaterThanOrEqual(395);
    expect(tookMs).toBeLessThan(2_000);
    await eventually(() => [...sockets].every((socket) => socket.destroyed), { label: 'the connection is closed' });
  });
});

describe('an answer', () => {
  it('is given as it is, whatever its status, and redirects are not followed', async () => {
    const address = await serve(
      createServer((request, response) => {
        response.writeHead(request.url === '/moved' ? 307 : 503, { Location: '/elsewhere', 'Retry-After': '7' });
        response.end('busy');
      }),
    );
    expect(await post(`http://${address}/`)).toMatchObject({
      status: 503,
      body: 'busy',
      headers: { 'retry-after': '7' },
    });
    expect(await post(`http://${address}/moved`)).toMatchObject({ status: 307 });
  });

  it('leaves the connection for the next request', async () => {
    const address = await serve(
      createServer((request, response) => request.resume().on('end', () => response.end('{}'))),
    );
    for (let i = 0; i < 5; i += 1) await post(`http://${address}/`);
    expect(sockets.size).toBe(1);
  });

  it('or its absence is counted under the operation, by status', async () => {
    const before = await counted();
    const address = await serve(
      createServer((request, response) => {
        if (request.url === '/reset') request.socket.resetAndDestroy();
        else if (request.url !== '/hang') response.writeHead(201).end('{}');
      }),
    );
    await post(`http://${address}/`);
    await failure(`http://${address}/reset`);
    await failure(`http://${address}/hang`, 100);
    const after = await counted();
    const more = (status: string) => (after[status] ?? 0) - (before[status] ?? 0);
    expect(['201', 'network', 'timeout'].map(more)).toEqual([1, 1, 1]);
  });

  it('is not asked for outside of a named operation', async () => {
    await expect(http.request({ method: 'GET', url: 'http://127.0.0.1/', timeoutMs: 10 })).rejects.toThrow(
      '@ProviderCall',
    );
  });
});
