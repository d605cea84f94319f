import { mkdir, realpath, rm } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { Client, escapeIdentifier } from 'pg';
import { postgresBinaries } from './postgres-binaries.js';
import {
  type Cluster,
  clusterPassword,
  ensureCluster,
  locateCluster,
  removeCluster,
  SUPERUSER,
} from './postgres-cluster.js';
import { findRunningServer, launchServer, type RunningServer, stopServer } from './postgres-process.js';
import { forgetDeadUsers, registeredUsers, registerUser, withServerLock } from './postgres-users.js';

const CONNECT_DEADLINE_MS = 10_000;
const QUERY_DEADLINE_MS = 20_000;

/** Enough for an app, its workers and a console at once, and small on a laptop. */
const DEFAULT_SETTINGS = { max_connections: '200', shared_buffers: '64MB', timezone: 'UTC', log_timezone: 'UTC' };

/** Reachable from this machine only, by the port alone. */
const FIXED_SETTINGS = { listen_addresses: '127.0.0.1', unix_socket_directories: '' };

/** A Postgres server that needs no installation, for development, the demo and the tests. */
export interface EmbeddedPostgres {
  /** Connection URL of the database, with its password: not for a log. */
  url: string;
  /** Port on 127.0.0.1; another one at each start of the server. */
  port: number;
  /**
   * Ends this caller's use. The server stops with its last user: fast shutdown, after 10 s an immediate one.
   * Close connections first. Calling it again does nothing.
   */
  stop(): Promise<void>;
  /** True if the server was already running: of another process, or left by one that was killed. */
  attached: boolean;
}

/** What to start, and where. */
export interface EmbeddedPostgresOptions {
  /** Holds data, password, log, lock and the register of users; made if absent. One server per directory. */
  dataDir: string;
  /** Created if absent. */
  database?: string;
  /** Server settings by name, over the defaults. A server that already runs keeps those it was started with. */
  settings?: Record<string, string>;
  /** Receives a line when something lies elsewhere than expected; standard error by default. */
  onNotice?: (line: string) => void;
}

/**
 * Starts Postgres from the binaries that npm installed, or attaches to the server that already runs in `dataDir`.
 * Works as root (the server then runs as `postgres` or `nobody`) and as any other user. Any number of processes may
 * call it for one directory at once: they share one server. Every wait is bounded; errors name the log.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { database = 'nevermisscall', settings = {} } = options;
  const onNotice = options.onNotice ?? ((line: string) => process.stderr.write(`${line}\n`));
  await mkdir(options.dataDir, { recursive: true });
  const dataDir = await realpath(options.dataDir);

  return await withServerLock(dataDir, async () => {
    const cluster = await locateCluster(dataDir);
    const password = await clusterPassword(cluster);
    const registration = await registerUser(dataDir);
    try {
      const running = await findRunningServer(cluster);
      const server = running ?? (await start(cluster, password, settings, onNotice));
      await openDatabase(server, cluster, password, database);

      let stopping: Promise<void> | undefined;
      return {
        url: `postgres://${SUPERUSER}:${password}@127.0.0.1:${server.port}/${encodeURIComponent(database)}`,
        port: server.port,
        attached: running !== undefined,
        stop: () => {
          stopping ??= withServerLock(dataDir, () => leave(cluster, registration));
          return stopping;
        },
      };
    } catch (error) {
      // The first failure is the one to report.
      await leave(cluster, registration).catch(() => undefined);
      throw error;
    }
  });
}

/** Removes the cluster of `dataDir`, wherever its files lie, and its server, unless a live process uses it. */
export async function removeEmbeddedPostgres(dataDir: string): Promise<void> {
  const directory = await realpath(dataDir);
  await withServerLock(directory, async () => {
    const { live } = await registeredUsers(directory);
    if (live > 0) throw new Error(`${live} running processes use the Postgres of ${directory}`);
    await removeCluster(await locateCluster(directory));
  });
}

async function start(
  cluster: Cluster,
  password: string,
  settings: Record<string, string>,
  onNotice: (line: string) => void,
): Promise<RunningServer> {
  const binaries = await postgresBinaries(cluster.user);
  const { clusterDir, dataDir, home } = cluster;
  const elsewhere = [
    ...(home === dataDir ? [] : [`its data is in ${clusterDir} instead of ${dataDir}`]),
    ...(binaries.copiedTo === undefined ? [] : [`its programs are copied to ${binaries.copiedTo}`]),
  ];
  if (elsewhere.length > 0) {
    const name = cluster.user?.name ?? userInfo().username;
    onNotice(`Postgres runs as the user "${name}", who cannot use every directory here: ${elsewhere.join(', ')}.`);
  }
  await ensureCluster(cluster, binaries, password, { durable: settings['fsync'] !== 'off', onNotice });
  return await launchServer(binaries, cluster, { ...DEFAULT_SETTINGS, ...settings, ...FIXED_SETTINGS });
}

/** Ends one use of the server. Looks for it anew: the one that this caller was given may have crashed and been replaced since. */
async function leave(cluster: Cluster, registration: string): Promise<void> {
  await rm(registration, { force: true });
  await forgetDeadUsers(cluster.dataDir);
  if ((await registeredUsers(cluster.dataDir)).live > 0) return;
  const running = await findRunningServer(cluster);
  if (running) await stopServer(running, cluster);
}

/** Creates the database if it is absent, having made sure that the server answers and that it is the cluster's own. */
async function openDatabase(
  { port }: RunningServer,
  { clusterDir, logFile }: Cluster,
  password: string,
  database: string,
): Promise<void> {
  const client = new Client({
    ...{ host: '127.0.0.1', port, user: SUPERUSER, password, database: 'postgres', ssl: false },
    connectionTimeoutMillis: CONNECT_DEADLINE_MS,
    query_timeout: QUERY_DEADLINE_MS,
  });
  // A connection that breaks while idle is reported here, and by the next query as well.
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ data_directory: string }>('SHOW data_directory');
    if (rows[0]?.data_directory !== clusterDir) throw new Error(`another server answers on port ${port}`);
    const known = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [database]);
    if (known.rowCount === 0) await client.query(`CREATE DATABASE ${escapeIdentifier(database)}`);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Postgres on ${clusterDir} does not serve: ${reason}; its log is ${logFile}`, { cause });
  } finally {
    await client.end();
  }
}
