// Writes what is generated from the catalogue, the alerts and the events; with --verify writes nothing and fails when one is out of date.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { METRICS } from '../dist/common/metrics/catalogue.js';
import { eventDocuments } from './event-documents.mjs';
import { contracts, subscriptions } from './event-sources.mjs';
import { metricDocuments } from './metric-documents.mjs';

const verify = process.argv.includes('--verify');

const documents = { ...metricDocuments(METRICS), ...eventDocuments(contracts, subscriptions) };

for (const [path, text] of Object.entries(documents)) {
  const file = fileURLToPath(new URL(`../${path}`, import.meta.url));
  const present = existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  if (present === text) continue;
  if (verify) {
    const lines = (present ?? '').split('\n');
    const line = text.split('\n').findIndex((wanted, index) => wanted !== lines[index]);
    console.error(`${path}:${line + 1} is out of date; run npm run gen and commit it`);
    process.exitCode = 1;
  } else {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    console.log(`wrote ${path}`);
  }
}
