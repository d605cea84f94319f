/** The document that says what the events are, rendered from their schemas. */
import { z } from 'zod';

const GENERATED = 'Generated from src/*/contracts/*.event.ts by `npm run gen`; do not edit.';

/** A type as a reader wants it, from its JSON schema. */
function typeOf(schema) {
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(' or ');
  if (Array.isArray(schema.type)) return schema.type.join(' or ');
  if (schema.type === 'array') return `list of ${typeOf(schema.items)}`;
  if (schema.type === 'string' && schema.format) return schema.format === 'date-time' ? 'time' : schema.format;
  if (typeof schema.type === 'string') return schema.type;
  throw new Error(`say in scripts/event-documents.mjs how to write ${JSON.stringify(schema)}`);
}

function rows(schema, prefix = '') {
  return Object.entries(schema.properties).flatMap(([name, field]) => {
    const optional = schema.required?.includes(name) ? '' : ', optional';
    const row = `| \`${prefix}${name}\` | ${typeOf(field)}${optional} | ${field.description ?? ''} |`;
    return [row, ...(field.properties ? rows(field, `${prefix}${name}.`) : [])];
  });
}

function section({ name, version, description, schema }, subscribers) {
  return `## ${name}

${description}

- version ${version}
- subscribers: ${subscribers.length > 0 ? subscribers.map((subscriber) => `\`${subscriber}\``).join(' ') : 'none'}

| field | type | meaning |
|---|---|---|
${rows(z.toJSONSchema(schema)).join('\n')}
`;
}

/**
 * The generated document about events, by its path from the root.
 * @param contracts every event contract there is
 * @param subscriptions which subscriber handles which event
 */
export function eventDocuments(contracts, subscriptions) {
  const sections = contracts
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((contract) => {
      const own = subscriptions.filter(({ event }) => event === contract.name).map(({ subscriber }) => subscriber);
      return section(contract, own.sort());
    });
  const page = `<!-- ${GENERATED} -->

# Events

What the contexts tell each other. An event is recorded in the transaction of what it reports, under its name, and handled
by each subscriber at least once. \`schema_version\` is semver: an addition is minor, and a consumer must ignore fields that
it does not know. Beside its payload every event carries \`event_id\`, \`tenant_id\`, \`occurred_at\`, \`correlation_id\`,
\`causation_id\` and \`ordering_key\`. Payloads hold ids and facts, never the body of a message. Times are ISO 8601 in UTC.

${sections.join('\n')}`;
  return { 'docs/events.md': page };
}
