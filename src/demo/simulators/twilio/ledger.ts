import { randomBytes } from 'node:crypto';
import type { CreateFault } from './faults.js';
import { History } from './history.js';

export type MessageStatus =
  | 'accepted'
  | 'queued'
  | 'sending'
  | 'sent'
  | 'delivered'
  | 'undelivered'
  | 'failed'
  | 'received';

/** A message as the provider holds it. Status, sender and dates move on as it is delivered. */
export interface SimulatedMessage {
  readonly sid: string;
  readonly accountSid: string;
  readonly direction: 'outbound-api' | 'inbound';
  readonly to: string;
  /** Null for a message of a Messaging Service until a sender of its pool is chosen. */
  from: string | null;
  readonly messagingServiceSid: string | null;
  readonly body: string;
  /** Every parameter of the create request, known or not; the last value of a repeated one. */
  readonly params: Readonly<Record<string, string>>;
  readonly numMedia: number;
  readonly numSegments: number;
  status: MessageStatus;
  errorCode: number | null;
  readonly dateCreated: Date;
  dateUpdated: Date;
  /** Null while the message is queued or accepted. */
  dateSent: Date | null;
  /** Epoch milliseconds from which the list shows the message. */
  readonly visibleAt: number;
}

/** One create request and what became of it. */
export interface CreateRequest {
  readonly at: Date;
  readonly accountSid: string;
  readonly params: Readonly<Record<string, string>>;
  /** Whether the message is in the ledger; the caller may never have learned of it. */
  readonly accepted: boolean;
  /** HTTP status of the answer, or null when none was given. */
  readonly status: number | null;
  /** Error code of a refusal. */
  readonly code: number | null;
  readonly sid: string | null;
  /** The scripted fault that hit the request. */
  readonly fault: CreateFault['kind'] | null;
}

export interface StatusChange {
  readonly sid: string;
  readonly status: MessageStatus;
  readonly at: Date;
}

/** A new Twilio identifier: two capitals and 32 hexadecimal digits. */
export function newSid(prefix: string): string {
  return prefix + randomBytes(16).toString('hex');
}

/** The ground truth that a test compares the application with. */
export class Ledger {
  readonly accepted = new History<SimulatedMessage>();
  readonly created = new History<CreateRequest>();
  readonly received = new History<SimulatedMessage>();
  readonly changes = new History<StatusChange>();
  private readonly bySid = new Map<string, SimulatedMessage>();

  /** Every outbound message that was accepted, oldest first. */
  get messages(): readonly SimulatedMessage[] {
    return this.accepted.items;
  }

  /** Every create request, accepted or not, oldest first. */
  get requests(): readonly CreateRequest[] {
    return this.created.items;
  }

  /** Every text that a simulated customer sent, oldest first. */
  get inbound(): readonly SimulatedMessage[] {
    return this.received.items;
  }

  messagesTo(phone: string): SimulatedMessage[] {
    return this.messages.filter((message) => message.to === phone);
  }

  find(sid: string): SimulatedMessage | undefined {
    return this.bySid.get(sid);
  }

  accept(message: SimulatedMessage): void {
    this.bySid.set(message.sid, message);
    this.accepted.append(message);
    this.changes.append({ sid: message.sid, status: message.status, at: message.dateCreated });
  }

  receive(message: SimulatedMessage): void {
    this.bySid.set(message.sid, message);
    this.received.append(message);
  }

  advance(message: SimulatedMessage, status: MessageStatus, at: Date): void {
    message.status = status;
    message.dateUpdated = at;
    if (status === 'sent' || status === 'failed') message.dateSent = at;
    this.changes.append({ sid: message.sid, status, at });
  }

  close(): void {
    this.accepted.close();
    this.created.close();
    this.received.close();
    this.changes.close();
  }
}
