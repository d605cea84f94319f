/** The closed sets that metrics are labelled with; never a tenant, a phone or an id among them. */

/** Label values that are bounded but not enumerable here; the brand keeps free strings out. */
declare const brand: unique symbol;
type Branded<B extends string> = string & { readonly [brand]: B };

/** A route template (`/v1/conversations/:id`) or `unmatched`; never a URL. */
export type RouteTemplate = Branded<'route'>;
/** The version in package.json. */
export type Version = Branded<'version'>;
/** An HTTP status code as text. */
export type HttpStatusLabel = `${number}`;
/** What a provider answered: its status code, or why there is none. */
export type ProviderStatus = HttpStatusLabel | 'timeout' | 'network';
/** An operation of a provider (`messages.create`), declared by a `@ProviderCall`. */
export type OperationId = `${string}.${string}`;

export const EVENT_NAMES = [
  'nmc.telephony.CallDetected',
  'nmc.telephony.CallReplySuppressed',
  'nmc.telephony.CallReplyDeferred',
  'nmc.telephony.InboundSmsReceived',
  'nmc.telephony.OutboundSmsQueued',
  'nmc.telephony.OutboundSmsFailed',
  'nmc.telephony.DeliveryUpdated',
  'nmc.conversation.ConversationStarted',
  'nmc.compliance.OptOutRecorded',
  'nmc.compliance.OptInRecorded',
] as const;
/** The wire names of our events; an event outside this list does not compile. */
export type EventName = (typeof EVENT_NAMES)[number];

export const PROVIDERS = ['twilio', 'stripe', 'google', 'jobber', 'ai'] as const;
export type Provider = (typeof PROVIDERS)[number];

export const HTTP_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', '_OTHER'] as const;
export const WEBHOOK_ENDPOINTS = ['voice', 'dial_result', 'voice_status', 'sms_inbound', 'sms_status'] as const;
export type WebhookEndpoint = (typeof WEBHOOK_ENDPOINTS)[number];
/** What is read periodically; a collector that fails takes its figures with it. */
export const COLLECTORS = [
  'slo_first_sms',
  'slo_booking',
  'slo_budget',
  'projectors',
  'ledger',
  'outbox',
  'outbox_table',
  'db_pool',
  'db_server',
  'db_snapshots',
  'process_usage',
] as const;
export type Collector = (typeof COLLECTORS)[number];
/** What reporting derives from events. */
export const PROJECTORS = ['first_response', 'kpi_ledger'] as const;
/** The promises: P95 of the first text, none of them later than a minute, the booking API. */
export const OBJECTIVES = ['first_sms', 'first_sms_60s', 'booking_api'] as const;
export const BURN_WINDOWS = ['5m', '30m', '1h', '6h', '3d'] as const;
/** Where the time of a first reply goes, in order. */
export const STAGES = ['webhook', 'outbox_wait', 'handler', 'provider'] as const;
export type BadStage = (typeof STAGES)[number];

/** Why a missed call gets no text. */
export const SUPPRESSION_REASONS = [
  'withheld',
  'short_code',
  'alphanumeric',
  'toll_free',
  'not_a_phone',
  'own_number',
  'platform_number',
  'opted_out',
  'not_registered',
  'repeat',
] as const;

/** Why a request to the booking API does not count: refused before a booking was tried, or given up in good time. */
export const BOOKING_EXCLUSIONS = [
  'malformed',
  'unauthenticated',
  'forbidden',
  'not_found',
  'rate_limited',
  'hung_up',
] as const;
export type BookingExclusion = (typeof BOOKING_EXCLUSIONS)[number];

/** How far a text got, in the provider's words; `failed` also where the provider never took it. */
export const MESSAGE_STATUSES = [
  'queued',
  'sending',
  'sent',
  'delivered',
  'read',
  'undelivered',
  'failed',
  'canceled',
  'other',
] as const;
export type MessageStatus = (typeof MESSAGE_STATUSES)[number];

// biome-ignore format: a table of numbers
/** Twilio's error codes that telephony has an answer to, `none` where a failure came without one, `other` for the rest. */
export const FAILURE_CODES = [
  '11200', '11205', '12100', '20003', '20404', '20429', '21211', '21408', '21606', '21608', '21610', '21611',
  '21612', '21614', '21617', '21635', '30001', '30002', '30003', '30004', '30005', '30006', '30007', '30008',
  '30022', '30023', '30024', '30032', '30034', '30036', '30410', '30450', '30610', '30640', 'none', 'other',
] as const;
export type FailureCode = (typeof FAILURE_CODES)[number];
