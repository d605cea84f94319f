import { Client } from 'pg';
import { cloneDatabase } from '../../support/database.js';

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

describe('the database of a test', () => {
  it('is its own, and may be made at the same time as others', async () => {
    const databases = await Promise.all([cloneDatabase(), cloneDatabase(), cloneDatabase()]);
    expect(new Set(databases.map((database) => database.name)).size).toBe(3);
    for (const database of databases) {
      const client = await connect(database.url);
      const { rows } = await client.query('SELECT current_database() AS name');
      await client.query('CREATE TABLE of_this_test ()');
      await client.end();
      expect(rows).toEqual([{ name: database.name }]);
    }
    await Promise.all(databases.map((database) => database.drop()));
  });

  it('is dropped even while somebody is connected', async () => {
    const database = await cloneDatabase();
    const client = await connect(database.url);
    await database.drop();
    await expect(client.query('SELECT 1')).rejects.toThrow();
    await expect(connect(database.url)).rejects.toThrow('does not exist');
    await database.drop();
  });

  it('leaves the template alone: nobody can connect to it', async () => {
    const { url, drop } = await cloneDatabase();
    const template = new URL(url);
    template.pathname = '/nmc_template';
    await expect(connect(template.href)).rejects.toThrow('not currently accepting connections');
    await drop();
  });
});
