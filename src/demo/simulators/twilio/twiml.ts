export interface TwimlVerb {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The verb of a TwiML document that decides the call: its `<Dial>` if there is one, else its first. */
export function firstVerb(twiml: string): TwimlVerb | null {
  const inner = /<Response\b[^>]*>([\s\S]*)<\/Response>/.exec(twiml)?.[1];
  const tag = /<(Dial)\b([^>]*)>/.exec(inner ?? '') ?? /<([A-Z]\w*)\b([^>]*)>/.exec(inner ?? '');
  if (tag === null) return null;
  const attributes: Record<string, string> = {};
  for (const [, name = '', value = ''] of (tag[2] ?? '').matchAll(/([\w:-]+)="([^"]*)"/g)) {
    attributes[name] = value.replace(/&(amp|lt|gt|quot|apos);/g, (_entity, key: string) => ENTITIES[key] ?? '');
  }
  return { name: tag[1] ?? '', attributes };
}
