import type { MigrationInterface, QueryRunner } from 'typeorm';

export class TelephonyWire20261123100200 implements MigrationInterface {
  readonly name = 'TelephonyWire20261123100200';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create schema if not exists telephony;

      create table telephony.lines (
        tenant_id              uuid primary key,
        voice_mode             text not null check (voice_mode in ('forward_target', 'dial_owner')),
        owner_phone            text,
        messaging_service_sid  text,
        repeat_window_minutes  int not null default 60 check (repeat_window_minutes between 1 and 10080),
        quiet_start            text,
        quiet_end              text,
        short_call_seconds     int,
        twilio_account_sid     text unique,
        twilio_auth_token      bytea,
        updated_at             timestamptz not null default now(),
        check ((quiet_start is null) = (quiet_end is null)),
        check ((twilio_account_sid is null) = (twilio_auth_token is null)),
        check (voice_mode <> 'dial_owner' or owner_phone is not null)
      );

      create table telephony.numbers (
        phone       text primary key,
        tenant_id   uuid not null references telephony.lines,
        position    int not null default 0,
        created_at  timestamptz not null default now()
      );
      create index numbers_tenant on telephony.numbers (tenant_id, position);

      create table telephony.webhook_events (
        provider        text not null,
        dedupe_key      text not null,
        endpoint        text not null,
        correlation_id  uuid not null,
        tenant_id       uuid,
        received_at     timestamptz not null default clock_timestamp(),
        parameters      jsonb not null,
        answer          text not null default '',
        primary key (provider, dedupe_key)
      );
      create index webhook_events_received on telephony.webhook_events (received_at);

      create table telephony.calls (
        call_id         uuid primary key,
        tenant_id       uuid not null,
        call_sid        text not null,
        caller          text not null,
        called_number   text not null,
        forwarded_from  text,
        correlation_id  uuid not null,
        first_seen_at   timestamptz not null default clock_timestamp(),
        dialed          boolean not null default false,
        answered_at     timestamptz,
        missed_at       timestamptz,
        decision        text check (decision in ('reply', 'suppress', 'defer')),
        reason          text,
        deferred_until  timestamptz,
        decided_at      timestamptz,
        unique (tenant_id, call_sid)
      );
      create index calls_tenant on telephony.calls (tenant_id, first_seen_at desc);
      create index calls_correlation on telephony.calls (correlation_id);

      create table telephony.reply_windows (
        tenant_id    uuid not null,
        caller       text not null,
        trigger_id   uuid not null,
        opened_at    timestamptz not null default clock_timestamp(),
        primary key (tenant_id, caller)
      );
      comment on table telephony.reply_windows is 'one text per caller and window: whoever wins this row texts';

      create table telephony.messages (
        message_id             uuid primary key,
        tenant_id              uuid not null,
        direction              text not null check (direction in ('inbound', 'outbound')),
        purpose                text not null,
        dedup_key              text not null,
        trigger_id             uuid not null,
        correlation_id         uuid not null,
        caller                 text not null,
        business_number        text not null,
        messaging_service_sid  text,
        account_sid            text not null,
        body                   text not null,
        segments               smallint not null,
        state                  text not null,
        message_sid            text,
        error_code             int,
        created_at             timestamptz not null default clock_timestamp(),
        triggered_at           timestamptz not null,
        trigger_recorded_at    timestamptz not null,
        handler_started_at     timestamptz not null,
        submitted_at           timestamptz,
        accepted_at            timestamptz,
        attempt                smallint not null default 0,
        resends                smallint not null default 0,
        unique (tenant_id, dedup_key)
      );
      comment on column telephony.messages.submitted_at is 'before the first request to the provider; with the other times, the stages of the promise';
      create index messages_caller on telephony.messages (tenant_id, caller, created_at desc);
      create index messages_sid on telephony.messages (message_sid);
      create index messages_correlation on telephony.messages (correlation_id);

      create table telephony.send_attempts (
        message_id    uuid not null references telephony.messages,
        attempt       smallint not null,
        resend        boolean not null,
        started_at    timestamptz not null default clock_timestamp(),
        outcome       text not null default 'submitting',
        http_status   text,
        error_code    int,
        message_sid   text,
        finished_at   timestamptz,
        primary key (message_id, attempt)
      );
      comment on table telephony.send_attempts is 'every request to create a message, marked before the socket is touched: the account of every ambiguous call';
      create index send_attempts_sid on telephony.send_attempts (message_sid);

      create table telephony.parked_callbacks (
        account_sid  text not null,
        message_sid  text not null,
        status       text not null,
        error_code   int,
        received_at  timestamptz not null default clock_timestamp(),
        primary key (account_sid, message_sid, status)
      );
      comment on table telephony.parked_callbacks is 'delivery states of texts we do not know yet; applied when the sid is';
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop schema telephony cascade');
  }
}
