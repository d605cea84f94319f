import { connect, createServer, type Server, type Socket } from 'node:net';
import { Frames } from './postgres-frames.js';

/** `up` is from the client to the server, `down` the way back. */
export type Direction = 'up' | 'down';
type Choice = (wire: Wire) => boolean;
const EVERY: Choice = () => true;

export interface TcpProxyOptions {
  /** Ports on 127.0.0.1 to connect to: the first that takes the connection, beginning with another one each time. */
  targets: () => readonly number[];
  /** Reads the messages of Postgres as they pass, for `issued`, `listens`, `withholdNotifications` and `loseNextCommit`. */
  postgres?: boolean;
}

/** One connection through the proxy. */
export class Wire {
  /** Bytes that went in and never came out. */
  readonly swallowed: Record<Direction, number> = { up: 0, down: 0 };
  /** Loses the server's next answer, and with it the connection. */
  losesNextAnswer = false;
  private queries: string[] = [];
  private isListening = false;
  private readonly dead = new Set<Direction>();
  private readonly lastAt: Record<Direction, number> = { up: 0, down: 0 };
  private readonly frames: Record<Direction, Frames> | undefined;
  private ended = false;

  constructor(
    private readonly client: Socket,
    private readonly server: Socket,
    private readonly proxy: TcpProxy,
    postgres: boolean,
  ) {
    if (postgres) this.frames = { up: new Frames({ startup: true }), down: new Frames({ startup: false }) };
    client.setNoDelay(true);
    server.setNoDelay(true);
    client.on('data', (chunk) => this.carry('up', chunk));
    server.on('data', (chunk) => this.carry('down', chunk));
    client.on('close', () => this.closed('up'));
    server.on('close', () => this.closed('down'));
  }

  /** Our port as the server sees it: `client_port` in `pg_stat_activity`. */
  readonly localPort = () => this.server.localPort;

  /** Whether LISTEN has passed. */
  get listens(): boolean {
    return this.isListening;
  }

  /** Whether a statement with this text in it has passed since the last BEGIN; case does not matter. */
  issued(text: string): boolean {
    return this.queries.some((query) => query.includes(text.toLowerCase()));
  }

  /** Resets both ends. */
  cut(): void {
    this.ended = true;
    this.client.resetAndDestroy();
    this.server.resetAndDestroy();
    this.proxy.forget(this);
  }

  /** Whether an end of it is gone and the other was never told. */
  get isHalfOpen(): boolean {
    return this.client.destroyed !== this.server.destroyed;
  }

  private carry(direction: Direction, chunk: Buffer): void {
    const out = this.frames ? this.read(direction, this.frames[direction].read(chunk)) : chunk;
    // What has lost a byte can carry nothing sensible any more, whatever is healed since.
    if (this.dead.has(direction) || this.proxy.swallows(this, direction)) {
      this.dead.add(direction);
      this.swallowed[direction] += chunk.length;
      return;
    }
    if (direction === 'down' && this.losesNextAnswer) this.cut();
    else if (out.length > 0) this.later(direction, () => (direction === 'up' ? this.server : this.client).write(out));
  }

  /** Looks at the messages, and answers those that go on. */
  private read(direction: Direction, messages: readonly Buffer[]): Buffer {
    if (direction === 'down') {
      const isNotification = (message: Buffer) => message[0] === 0x41; // 'A'
      return Buffer.concat(
        this.proxy.withholdNotifications ? messages.filter((message) => !isNotification(message)) : [...messages],
      );
    }
    for (const message of messages) this.note(message);
    return Buffer.concat(messages);
  }

  private note(message: Buffer): void {
    const query = statementOf(message);
    if (query === undefined) return;
    if (/^(?:begin|start transaction)/.test(query)) this.queries = [];
    this.queries.push(query);
    this.isListening ||= query.startsWith('listen ');
    if (query.startsWith('commit') && this.proxy.takesCommit(this)) this.losesNextAnswer = true;
  }

  private closed(direction: Direction): void {
    if (this.ended) return;
    // The goodbye is a packet as well.
    if (this.dead.has(direction) || this.proxy.swallows(this, direction)) {
      this.dead.add(direction);
      return;
    }
    this.later(direction, () => {
      (direction === 'up' ? this.server : this.client).destroy();
      this.ended = true;
      this.proxy.forget(this);
    });
  }

  /** In order, `latencyMs` later. */
  private later(direction: Direction, action: () => void): void {
    const now = performance.now();
    const at = Math.max(now + this.proxy.latencyMs, this.lastAt[direction]);
    if (at <= now) {
      action();
      return;
    }
    this.lastAt[direction] = at;
    setTimeout(() => {
      if (!this.ended) action();
    }, at - now);
  }
}

/** The text of a simple query (`Q`) or of a statement to prepare (`P`), in lower case. */
function statementOf(message: Buffer): string | undefined {
  const text = () => message.toString('utf8', 5);
  const [first = '', second = ''] = message[0] === 0x51 || message[0] === 0x50 ? text().split('\0') : [];
  if (message[0] === 0x51) return first.trimStart().toLowerCase();
  return message[0] === 0x50 ? second.trimStart().toLowerCase() : undefined;
}

/** Stands between a client and a server and does to their connections what networks do. */
export class TcpProxy {
  /** Added to each packet, either way. */
  latencyMs = 0;
  /** Loses what LISTEN would have brought, as a pooler in between does. */
  withholdNotifications = false;
  private readonly wires = new Set<Wire>();
  private readonly sockets = new Set<Socket>();
  private rule: { directions: readonly Direction[]; of: Choice } | undefined;
  private commits: Choice | undefined;
  private next = 0;
  private server: Server;
  private listeningOn = 0;

  private constructor(private readonly options: TcpProxyOptions) {
    this.server = this.makeServer();
  }

  static async start(options: TcpProxyOptions): Promise<TcpProxy> {
    const proxy = new TcpProxy(options);
    await proxy.listen(0);
    return proxy;
  }

  get port(): number {
    return this.listeningOn;
  }

  get connections(): readonly Wire[] {
    return [...this.wires];
  }

  /** Bytes lost so far on the connections there are. */
  swallowed(direction: Direction): number {
    return this.connections.reduce((sum, wire) => sum + wire.swallowed[direction], 0);
  }

  /** From now on bytes vanish without a word, on the connections that there are and those that come. */
  swallow(directions: readonly Direction[], of: Choice = EVERY): void {
    this.rule = { directions, of };
  }

  /** Ends every fault. Connections that lost something stay silent; those whose one end is gone are ended. */
  heal(): void {
    this.rule = undefined;
    this.commits = undefined;
    this.latencyMs = 0;
    this.withholdNotifications = false;
    for (const wire of this.connections) if (wire.isHalfOpen) wire.cut();
  }

  /** Resets connections; answers how many. */
  cut(of: Choice = EVERY): number {
    const chosen = this.connections.filter(of);
    for (const wire of chosen) wire.cut();
    return chosen.length;
  }

  /** The next COMMIT reaches the server, and its answer nobody: the connection is reset when it would pass. */
  loseNextCommit(of: Choice = EVERY): void {
    this.commits = of;
  }

  /** Whether a lost commit is still to come. */
  get awaitsCommit(): boolean {
    return this.commits !== undefined;
  }

  /** As if nobody listened, and everybody hung up. */
  async refuse(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.cut();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  /** Listens again, on the same port. */
  async accept(): Promise<void> {
    this.server = this.makeServer();
    await this.listen(this.listeningOn);
  }

  async stop(): Promise<void> {
    this.heal();
    if (this.server.listening) await this.refuse();
    else this.cut();
  }

  /** For the wires. */
  swallows(wire: Wire, direction: Direction): boolean {
    return this.rule?.directions.includes(direction) === true && this.rule.of(wire);
  }

  takesCommit(wire: Wire): boolean {
    if (!this.commits?.(wire)) return false;
    this.commits = undefined;
    return true;
  }

  forget(wire: Wire): void {
    this.wires.delete(wire);
  }

  private listen(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(port, '127.0.0.1', () => {
        const address = this.server.address();
        if (typeof address === 'object' && address) this.listeningOn = address.port;
        resolve();
      });
    });
  }

  private makeServer(): Server {
    return createServer({ pauseOnConnect: true }, (client) => {
      this.own(client);
      const targets = this.options.targets();
      const first = this.next++;
      this.reach(
        client,
        targets.map((_, index) => targets[(first + index) % targets.length] ?? 0),
      );
    });
  }

  private reach(client: Socket, [port, ...others]: number[]): void {
    if (port === undefined || client.destroyed) return void client.resetAndDestroy();
    const server = connect({ port, host: '127.0.0.1' });
    const elsewhere = () => this.reach(client, others);
    server.once('error', elsewhere);
    server.once('connect', () => {
      server.off('error', elsewhere);
      this.own(server);
      this.wires.add(new Wire(client, server, this, this.options.postgres ?? false));
      client.resume();
    });
  }

  private own(socket: Socket): void {
    this.sockets.add(socket);
    // Its close follows, and says all.
    socket.on('error', () => undefined);
    socket.on('close', () => this.sockets.delete(socket));
  }
}
