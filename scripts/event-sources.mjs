/** What the built code declares about events: contracts and subscriptions, found by the names of their files. */
import 'reflect-metadata';
import { globSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EVENT_NAMES } from '../dist/common/metrics/catalogue.js';
import { SUBSCRIPTIONS } from '../dist/infra/outbox/on-outbox-event.decorator.js';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));

async function exportsOf(pattern) {
  const found = [];
  for (const path of globSync(pattern, { cwd: dist }).sort()) {
    found.push(...Object.values(await import(new URL(`../dist/${path}`, import.meta.url).href)));
  }
  return found;
}

const contracts = (await exportsOf('*/contracts/*.event.js')).filter((one) => EVENT_NAMES.includes(one?.name));
const missing = EVENT_NAMES.filter((name) => !contracts.some((contract) => contract.name === name));
if (missing.length > 0) throw new Error(`no contract in src/*/contracts/*.event.ts is called ${missing.join(', ')}`);

const subscriptions = (await exportsOf('*/**/*.subscriber.js')).flatMap(({ prototype = {} }) =>
  Object.getOwnPropertyNames(prototype).flatMap((method) =>
    (Reflect.getMetadata(SUBSCRIPTIONS, prototype[method]) ?? []).map(({ contract, options }) => ({
      event: contract.name,
      subscriber: options.name,
    })),
  ),
);

export { contracts, subscriptions };
