import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type EmbeddedPostgres,
  removeEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../src/demo/embedded-postgres.js';
import { locateCluster } from '../../src/demo/postgres-cluster.js';
import { findRunningServer } from '../../src/demo/postgres-process.js';
import { processIdentity } from '../../src/demo/postgres-users.js';
import { eventually } from './eventually.js';

/** A server of a test's own, durable as in production, that can be made to crash. */
export class OwnPostgres {
  private readonly uses: EmbeddedPostgres[] = [];
  private running: EmbeddedPostgres | undefined;

  private constructor(private readonly dataDir: string) {}

  static async start(): Promise<OwnPostgres> {
    // The prefix by which global-setup.mjs clears away what an interrupted run has left.
    const dataDir = await mkdtemp(join(tmpdir(), 'nmc-test-'));
    await chmod(dataDir, 0o755);
    const server = new OwnPostgres(dataDir);
    await server.launch();
    return server;
  }

  /** Where it answers now: another port after each start. None while it is down. */
  get ports(): readonly number[] {
    return this.running ? [this.running.port] : [];
  }

  /** The URL of its database as if it listened on `port`. */
  url(port: number): string {
    const url = new URL(this.uses[0]?.url ?? '');
    url.port = String(port);
    return url.href;
  }

  /** Process id of the server. */
  async pid(): Promise<number> {
    const found = await findRunningServer(await locateCluster(this.dataDir));
    if (!found) throw new Error('the server does not run');
    return found.pid;
  }

  /** An immediate shutdown: no checkpoint, every connection dropped; what was committed comes back by recovery. */
  async crash(): Promise<void> {
    const pid = await this.pid();
    this.running = undefined;
    process.kill(pid, 'SIGQUIT');
    await eventually(() => processIdentity(pid) === undefined, { deadlineMs: 15_000, label: 'Postgres has ended' });
  }

  async launch(): Promise<void> {
    const server = await startEmbeddedPostgres({ dataDir: this.dataDir, onNotice: () => undefined });
    this.uses.push(server);
    this.running = server;
  }

  async remove(): Promise<void> {
    this.running = undefined;
    for (const server of this.uses) await server.stop();
    await removeEmbeddedPostgres(this.dataDir);
    await rm(this.dataDir, { recursive: true, force: true });
  }
}
