const AT = Symbol('place in the bag');
type Placed = { [AT]?: number | undefined };

/**
 * Objects that come and go by the thousand, in no order. A Set would keep them from being collected: V8 links each table
 * that it outgrows to the next one, so that behind one that has grown old all later ones stay, with what was in them,
 * until the next full collection; meanwhile each minor one copies them.
 */
export class Bag<T extends object> {
  private readonly items: (T & Placed)[] = [];

  get size(): number {
    return this.items.length;
  }

  get all(): readonly T[] {
    return [...this.items];
  }

  /** @param item in no bag yet */
  add(item: T & Placed): void {
    item[AT] = this.items.length;
    this.items.push(item);
  }

  /** @returns whether it was there */
  delete(item: T & Placed): boolean {
    const at = item[AT];
    const last = this.items.at(-1);
    if (at === undefined || this.items[at] !== item || !last) return false;
    this.items[at] = last;
    last[AT] = at;
    this.items.pop();
    item[AT] = undefined;
    return true;
  }
}
