import { get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import Fastify, { type FastifyInstance } from 'fastify';
import { PinoLogger } from 'nestjs-pino';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { ProviderCall } from '../../../src/common/decorators/provider-call.decorator.js';
import { interceptHttpEdge } from '../../../src/common/interceptors/http-edge.interceptor.js';
import { createLogger } from '../../../src/common/logging/logger.js';
import { inSpan } from '../../../src/common/tracing/spans.js';
import type { Config } from '../../../src/infra/config/config.js';
import { dataSourceOptions } from '../../../src/infra/database/data-source.js';
import { Database } from '../../../src/infra/database/database.js';
import { PooledClient } from '../../../src/infra/database/pooled-client.js';
import { GateLimits } from '../../../src/infra/gates/provider-gate.policy.js';
import { ProviderGates } from '../../../src/infra/gates/provider-gates.service.js';
import { ProviderHttp } from '../../../src/infra/http/provider-http.client.js';
import { Tenant } from '../../../src/infra/tenancy/tenant.entity.js';
import { cloneDatabase, type TestDatabase } from '../../support/database.js';
import { eventually } from '../../support/eventually.js';
import { recordSpans, takeSpans } from '../../support/recorded-spans.js';

recordSpans();
const names = () => takeSpans().map(({ name }) => name);

describe('a statement in a span', () => {
  let clone: TestDatabase;
  let dataSource: DataSource;
  let database: Database;
  let pool: pg.Pool;

  beforeAll(async () => {
    clone = await cloneDatabase();
    const options = dataSourceOptions({ databaseUrl: clone.url, poolMax: 1 });
    dataSource = await new DataSource({ ...options, entities: [Tenant] }).initialize();
    database = new Database(dataSource, { isPooled: false } as Config);
    pool = new pg.Pool({ connectionString: clone.url, Client: PooledClient, max: 1 });
  });
  afterAll(async () => {
    await pool.end();
    await dataSource.destroy();
    await clone.drop();
  });
  beforeEach(() => void takeSpans());

  it('is one of its own, with the wait for a connection, the begin and the commit, and entities as well', async () => {
    await inSpan('work', {}, () =>
      database.transaction(async (tx) => {
        await tx.query('select $1::int', [1]);
        await tx.manager.count(Tenant);
      }),
    );
    const spans = takeSpans();
    expect(spans.map(({ name }) => name).sort()).toEqual(
      ['pg-pool.connect', 'pg.query:BEGIN', 'pg.query:COMMIT', 'pg.query:SELECT', 'pg.query:SELECT', 'work'].sort(),
    );
    const work = spans.at(-1);
    for (const span of spans.slice(0, -1)) {
      expect([span.kind, span.parentSpanContext?.spanId]).toEqual([SpanKind.CLIENT, work?.spanContext().spanId]);
    }
    expect(spans.map(({ attributes }) => attributes)).toContainEqual({
      'db.system.name': 'postgresql',
      'db.operation.name': 'SELECT',
      'db.query.text': 'select $1::int',
    });
  });

  it.each<[string, (text: string) => Promise<unknown>]>([
    ['promise', (text) => pool.connect().then((client) => client.query(text).finally(() => client.release()))],
    ['callback', (text) => pool.query(text)],
    [
      'callback behind its values',
      (text) =>
        new Promise((resolve, reject) => pool.query(text, [], (error) => (error ? reject(error) : resolve(undefined)))),
    ],
    ['configuration', (text) => pool.query({ text, values: [] })],
  ])('ends with its answer, and fails with the code of the server: by %s', async (_how, query) => {
    await inSpan('work', {}, () => query('select 1'));
    expect(names()).toEqual(['pg.query:SELECT', 'work']);
    await expect(inSpan('work', {}, () => query('select 1/0'))).rejects.toThrow('division by zero');
    const [statement] = takeSpans();
    expect(statement?.status).toEqual({ code: SpanStatusCode.ERROR, message: '22012' });
    expect(statement?.attributes['error.type']).toBe('22012');
  });

  it('that brings its own end with it is sent all the same, without a span', async () => {
    const { rows } = await inSpan('work', {}, async () => {
      const client = await pool.connect();
      const answer = Promise.withResolvers<pg.QueryResult>();
      client.query(new pg.Query('select 2 as n', [], (_error, result) => answer.resolve(result)));
      return await answer.promise.finally(() => client.release());
    });
    expect(rows).toEqual([{ n: 2 }]);
    expect(names()).toEqual(['work']);
  });

  it('is none outside of a span, and none for what goes on after its end', async () => {
    await database.query('select 1');
    let later: Promise<unknown> | undefined;
    const gate = Promise.withResolvers<void>();
    await inSpan('work', {}, () => {
      later = gate.promise.then(() => database.query('select 2'));
    });
    gate.resolve();
    await later;
    expect(names()).toEqual(['work']);
  });
});

describe('over HTTP', () => {
  const silent = new PinoLogger({ pinoHttp: { level: 'silent' } });
  const http = new ProviderHttp(silent, new ProviderGates(silent, new GateLimits()));
  class Client {
    @ProviderCall({ provider: 'jobber', endpoint: 'jobs.create' })
    create(url: string) {
      return http.request({
        method: 'POST',
        url,
        query: { to: 'somebody' },
        headers: { 'content-type': 'text/plain' },
        timeoutMs: 2_000,
      });
    }
  }
  let server: FastifyInstance;
  let baseUrl: string;
  const arrived = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();

  beforeAll(async () => {
    server = Fastify();
    interceptHttpEdge(server, createLogger({ level: 'silent' }));
    server.post('/jobs/:id', async (_request, reply) => reply.code(201).send('made'));
    server.post('/broken', async () => {
      throw new Error('broken');
    });
    server.get('/slow', () => {
      arrived.resolve();
      return held.promise;
    });
    server.get('/health/ready', async () => 'ready');
    await server.listen({ port: 0, host: '127.0.0.1' });
    baseUrl = `http://127.0.0.1:${(server.server.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    held.resolve();
    http.onApplicationShutdown();
    await server.close();
  });
  beforeEach(() => void takeSpans());

  it('a request to a provider is a span below its call, and says how it ended', async () => {
    await new Client().create(`${baseUrl}/jobs/7`);
    const spans = await ended(3);
    const call = spans.find(({ name }) => name === 'jobber.jobs.create');
    const request = spans.find(({ name }) => name === 'POST');
    expect(request?.parentSpanContext?.spanId).toBe(call?.spanContext().spanId);
    expect([request?.kind, request?.attributes]).toEqual([
      SpanKind.CLIENT,
      {
        'http.request.method': 'POST',
        'url.full': `${baseUrl}/jobs/7`,
        'server.address': '127.0.0.1',
        'server.port': Number(new URL(baseUrl).port),
        'http.response.status_code': 201,
      },
    ]);
    await new Client().create(`${baseUrl}/nowhere`);
    const refused = (await ended(3)).find(({ name }) => name === 'POST');
    expect(refused?.status).toEqual({ code: SpanStatusCode.ERROR, message: '404' });
  });

  it('a request to us is the root, named by its route, without its query; a failure of ours is one of the trace', async () => {
    const headers = { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, 'user-agent': 'somebody/1' };
    await fetch(`${baseUrl}/jobs/7?to=somebody`, { method: 'POST', headers });
    await fetch(`${baseUrl}/broken`, { method: 'POST' });
    await fetch(`${baseUrl}/health/ready`);
    await fetch(`${baseUrl}/nowhere`);
    const [fine, broken, unmatched, ...more] = await ended(3);
    expect(more).toEqual([]);
    expect(fine).toMatchObject({
      name: 'POST /jobs/:id',
      kind: SpanKind.SERVER,
      status: { code: SpanStatusCode.UNSET },
    });
    expect([fine?.parentSpanContext, fine?.attributes]).toEqual([
      undefined,
      {
        'http.request.method': 'POST',
        'http.route': '/jobs/:id',
        'url.path': '/jobs/7',
        'url.scheme': 'http',
        'network.protocol.version': '1.1',
        'user_agent.original': 'somebody/1',
        'http.response.status_code': 201,
        correlation_id: expect.any(String),
      },
    ]);
    expect(broken?.status.code).toBe(SpanStatusCode.ERROR);
    expect(broken?.attributes).toMatchObject({ 'http.response.status_code': 500, 'error.type': '500' });
    expect(unmatched).toMatchObject({ name: 'GET unmatched', status: { code: SpanStatusCode.UNSET } });
  });

  it('a request whose sender went away ends, too, and claims no answer', async () => {
    const request = get(`${baseUrl}/slow`).on('error', () => {});
    await arrived.promise;
    request.destroy();
    const [slow] = await ended(1);
    expect(slow?.name).toBe('GET /slow');
    expect(slow?.attributes).not.toHaveProperty('http.response.status_code');
  });

  /** A span of the edge ends a moment after its answer has arrived. */
  async function ended(count: number): Promise<ReadableSpan[]> {
    const spans: ReadableSpan[] = [];
    await eventually(
      () => {
        spans.push(...takeSpans());
        expect(spans.length).toBeGreaterThanOrEqual(count);
      },
      { label: `${count} spans have ended` },
    );
    return spans;
  }
});
