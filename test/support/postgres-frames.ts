/** Cuts a stream of Postgres' protocol into its messages. */
export class Frames {
  private rest: Buffer = Buffer.alloc(0);
  private untyped: boolean;

  /** @param startup whether the stream begins with the one message that has no type, as the client's does */
  constructor({ startup }: { startup: boolean }) {
    this.untyped = startup;
  }

  /** The messages that are complete with this chunk; what is left waits for the next one. */
  read(chunk: Buffer): Buffer[] {
    this.rest = Buffer.concat([this.rest, chunk]);
    const messages: Buffer[] = [];
    for (;;) {
      const head = this.untyped ? 0 : 1;
      if (this.rest.length < head + 4) return messages;
      const length = head + this.rest.readUInt32BE(head);
      if (this.rest.length < length) return messages;
      messages.push(this.rest.subarray(0, length));
      this.rest = this.rest.subarray(length);
      this.untyped = false;
    }
  }
}
