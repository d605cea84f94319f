import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from './eventually.js';
import { freePort } from './free-port.js';
import { killGroupWithUs } from './spawned-app.js';

/** Debian's package pgbouncer; not in the path of everybody. */
const PROGRAM = '/usr/sbin/pgbouncer';
/** It does not run as root. */
const NOBODY = 65_534;

export const HAS_PGBOUNCER = spawnSync(PROGRAM, ['--version'], { timeout: 15_000 }).status === 0;

export interface PgBouncerOptions {
  /** Sessions of the server that all clients share. */
  poolSize: number;
  /** What each of them begins with. */
  connectQuery?: string;
}

/** PgBouncer in transaction mode before one database, killed with the process that started it. */
export class PgBouncer {
  private constructor(
    /** Of the database, through it. */
    readonly url: string,
    private readonly folder: string,
    private readonly child: ChildProcess,
    private readonly guard: ChildProcess,
  ) {}

  static async start(databaseUrl: string, { poolSize, connectQuery }: PgBouncerOptions): Promise<PgBouncer> {
    const folder = mkdtempSync(join(tmpdir(), 'nmc-pgbouncer-'));
    const server = new URL(databaseUrl);
    const port = await freePort();
    const url = new URL(databaseUrl);
    url.host = `127.0.0.1:${port}`;
    const write = (name: string, text: string) => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const users = write('users.txt', `"${server.username}" "${decodeURIComponent(server.password)}"\n`);
    const settings = write(
      'pgbouncer.ini',
      `[databases]
* = host=${server.hostname} port=${server.port}${connectQuery ? ` connect_query='${connectQuery}'` : ''}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${users}
pool_mode = transaction
default_pool_size = ${poolSize}
`,
    );
    chmodSync(folder, 0o755);
    const isRoot = process.getuid?.() === 0;
    const child = spawn(PROGRAM, [settings], {
      detached: true,
      stdio: 'ignore',
      ...(isRoot && { uid: NOBODY, gid: NOBODY }),
    });
    const bouncer = new PgBouncer(url.href, folder, child, killGroupWithUs(child.pid));
    await eventually(() => answers(port), { deadlineMs: 15_000, label: 'PgBouncer listens' });
    return bouncer;
  }

  async stop(): Promise<void> {
    const ended = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await ended;
    this.guard.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
