import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { eventDocuments } from '../../scripts/event-documents.mjs';
import { EVENT_NAMES } from '../../src/common/metrics/catalogue.js';
import { defineEvent } from '../../src/infra/outbox/event.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const published = readFileSync(`${ROOT}docs/events.md`, 'utf8');

const contract = defineEvent({
  name: 'nmc.telephony.CallDetected',
  version: '2.1.0',
  description: 'Something happened.',
  schema: z.object({
    id: z.uuid().describe('Whose'),
    at: z.iso.datetime(),
    kind: z.enum(['a', 'b']).nullable(),
    notes: z.array(z.string()).optional(),
    stages: z.object({ first: z.number() }).describe('Where the time went'),
  }),
});

describe('the page about an event', () => {
  it('has its version, fields, types, meaning and subscribers', () => {
    const subscriptions = [
      { event: contract.name, subscriber: 'reporting.count' },
      { event: 'nmc.telephony.DeliveryUpdated', subscriber: 'reporting.other' },
      { event: contract.name, subscriber: 'conversation.answer' },
    ];
    const page = eventDocuments([contract], subscriptions)['docs/events.md'];
    expect(page).toContain(`## nmc.telephony.CallDetected

Something happened.

- version 2.1.0
- subscribers: \`conversation.answer\` \`reporting.count\`

| field | type | meaning |
|---|---|---|
| \`id\` | uuid | Whose |
| \`at\` | time |  |
| \`kind\` | \`a\`, \`b\` or null |  |
| \`notes\` | list of string, optional |  |
| \`stages\` | object | Where the time went |
| \`stages.first\` | number |  |
`);
  });

  it('refuses a type that it cannot name instead of leaving it out', () => {
    const strange = { ...contract, schema: z.object({ anything: z.unknown() }) };
    expect(() => eventDocuments([strange], [])).toThrow(/say in scripts\/event-documents/);
  });

  it('exists for every event', () => {
    const sections = [...published.matchAll(/^## (\S+)$/gm)].map(([, name]) => name);
    expect(sections).toEqual([...EVENT_NAMES].sort());
  });
});

describe('npm run verify', () => {
  it('accepts the documents as they are, and names the one that is out of date', () => {
    const copy = mkdtempSync(join(tmpdir(), 'nmc-verify-'));
    try {
      for (const part of ['scripts', 'docs', 'deploy']) cpSync(`${ROOT}${part}`, join(copy, part), { recursive: true });
      for (const part of ['dist', 'node_modules', 'package.json']) symlinkSync(`${ROOT}${part}`, join(copy, part));
      const verify = () =>
        spawnSync(process.execPath, ['scripts/gen.mjs', '--verify'], { cwd: copy, encoding: 'utf8' });
      expect(verify()).toMatchObject({ status: 0, stderr: '' });
      writeFileSync(join(copy, 'docs/events.md'), published.replace('| `caller` |', '| `phone` |'));
      expect(verify()).toMatchObject({
        status: 1,
        stderr: expect.stringMatching(/^docs\/events\.md:\d+ is out of date/),
      });
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
});
