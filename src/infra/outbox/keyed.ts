const ROOM = 1_000;

/**
 * One value for each key, made when it is first asked for; keys come and go, and those whose value says nothing any more
 * are forgotten many at a time. To delete them one by one is what makes a Map keep what it once held: see `Bag`.
 */
export class Keyed<T> {
  private values = new Map<string, T>();
  private room = ROOM;

  constructor(
    private readonly make: (key: string) => T,
    private readonly isIdle: (value: T) => boolean,
  ) {}

  of(key: string): T {
    const known = this.values.get(key);
    if (known) return known;
    if (this.values.size >= this.room) this.sweep();
    const made = this.make(key);
    this.values.set(key, made);
    return made;
  }

  find(key: string): T | undefined {
    return this.values.get(key);
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.values.values();
  }

  private sweep(): void {
    const { values } = this;
    this.values = new Map();
    for (const [key, value] of values) if (!this.isIdle(value)) this.values.set(key, value);
    this.room = ROOM + 2 * this.values.size;
  }
}
