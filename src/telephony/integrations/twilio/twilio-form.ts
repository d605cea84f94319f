/** A Twilio webhook's form: every parameter kept, whether we know it or not. */
export interface TwilioForm {
  /** All parameters; those that came more than once as lists, as the signature wants them. */
  readonly all: Record<string, string | string[]>;
  /** The first value of a parameter, or undefined when it is absent or empty; without NUL, which Postgres cannot hold. */
  first(name: string): string | undefined;
}

/** Reads the raw body, so that what is verified is what was sent. */
export function parseForm(raw: Buffer | undefined): TwilioForm {
  const all: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of new URLSearchParams(raw?.toString('utf8') ?? '')) {
    const earlier = all[name];
    if (earlier === undefined) all[name] = value;
    else all[name] = Array.isArray(earlier) ? [...earlier, value] : [earlier, value];
  }
  return {
    all,
    first: (name) => {
      const value = all[name];
      return (Array.isArray(value) ? value[0] : value)?.replaceAll('\0', '\ufffd') || undefined;
    },
  };
}
