/** Who may no longer be texted by whom, as the provider enforces it with error 21610. */
export class OptOuts {
  private readonly pairs = new Set<string>();

  /** @param sender A number or Messaging Service; left out, every sender. */
  add(phone: string, sender = '*'): void {
    this.pairs.add(`${phone} ${sender}`);
  }

  /** Lifts the opt-out of that sender; left out, of every sender. */
  remove(phone: string, sender?: string): void {
    for (const pair of this.pairs) {
      if (sender === undefined ? pair.startsWith(`${phone} `) : pair === `${phone} ${sender}`) this.pairs.delete(pair);
    }
  }

  has(phone: string, sender: string): boolean {
    return this.pairs.has(`${phone} *`) || this.pairs.has(`${phone} ${sender}`);
  }
}
