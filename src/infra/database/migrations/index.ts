import { InfraOutbox20261123100000 } from './20261123100000-infra-outbox.js';
import { ComplianceConsent20261123100100 } from './20261123100100-compliance-consent.js';
import { TelephonyWire20261123100200 } from './20261123100200-telephony-wire.js';
import { ConversationThreads20261123100300 } from './20261123100300-conversation-threads.js';
import { ReportingFirstResponses20261123100400 } from './20261123100400-reporting-first-responses.js';
import { ReportingLedger20261123100500 } from './20261123100500-reporting-ledger.js';
import { InfraDeadLetters20261123100600 } from './20261123100600-infra-dead-letters.js';
import { InfraOutboxGate20261123100700 } from './20261123100700-infra-outbox-gate.js';
import { InfraOutboxLanes20261123100800 } from './20261123100800-infra-outbox-lanes.js';
import { ReportingBadStage20261123100900 } from './20261123100900-reporting-bad-stage.js';
import { InfraOutboxPace20261128100000 } from './20261128100000-infra-outbox-pace.js';
import { ReportingBookingSamples20261128100100 } from './20261128100100-reporting-booking-samples.js';
import { InfraOutboxBornLeased20261129100000 } from './20261129100000-infra-outbox-born-leased.js';
import { InfraOutboxEnvelope20261130100000 } from './20261130100000-infra-outbox-envelope.js';

/** In order; listed, because a glob cannot be checked by the compiler and loses the names. */
export const MIGRATIONS = [
  InfraOutbox20261123100000,
  ComplianceConsent20261123100100,
  TelephonyWire20261123100200,
  ConversationThreads20261123100300,
  ReportingFirstResponses20261123100400,
  ReportingLedger20261123100500,
  InfraDeadLetters20261123100600,
  InfraOutboxGate20261123100700,
  InfraOutboxLanes20261123100800,
  ReportingBadStage20261123100900,
  InfraOutboxPace20261128100000,
  ReportingBookingSamples20261128100100,
  InfraOutboxBornLeased20261129100000,
  InfraOutboxEnvelope20261130100000,
];
