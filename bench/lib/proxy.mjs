import { connect, createServer } from 'node:net';

/**
 * A TCP proxy in front of Postgres that can lose the connections on which somebody listens: the sockets stay open, and
 * nothing comes through any more, as when a firewall forgets a connection. New connections work.
 */
export async function startProxy(/** @type {string} */ databaseUrl) {
  const target = new URL(databaseUrl);
  /** @type {Set<{ listens: boolean, dead: boolean, end: () => void }>} */
  const links = new Set();
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    const end = () => {
      client.destroy();
      upstream.destroy();
      links.delete(link);
    };
    const link = { listens: false, dead: false, end };
    links.add(link);
    for (const socket of [client, upstream]) socket.setNoDelay(true).on('error', end).on('close', end);
    client.on('data', (chunk) => {
      link.listens ||= /\blisten\s+["\w]/i.test(chunk.toString('latin1'));
      if (!link.dead) upstream.write(chunk);
    });
    upstream.on('data', (chunk) => link.dead || client.write(chunk));
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', () => listening(undefined)));
  const url = new URL(databaseUrl);
  url.port = String(/** @type {import('node:net').AddressInfo} */ (server.address()).port);
  return {
    url: url.href,
    /** From now on nothing passes on the connections that listen. Answers how many those are. */
    loseListeners() {
      const listeners = [...links].filter(({ listens }) => listens);
      for (const link of listeners) link.dead = true;
      return listeners.length;
    },
    stop() {
      for (const { end } of links) end();
      server.close();
    },
  };
}
