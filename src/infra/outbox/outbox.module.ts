import { Global, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { DeadLetters } from './dead-letters.service.js';
import { DeliveryRunner } from './delivery-runner.js';
import { Dispatcher } from './dispatcher.service.js';
import { OutboxCron } from './outbox.cron.js';
import { Outbox } from './outbox.service.js';
import { OutboxPartitions } from './outbox-partitions.service.js';
import { Subscribers } from './subscribers.service.js';

@Global()
@Module({
  imports: [DiscoveryModule],
  providers: [Outbox, Dispatcher, DeliveryRunner, Subscribers, OutboxPartitions, OutboxCron, DeadLetters],
  exports: [Outbox, Dispatcher, DeadLetters],
})
export class OutboxModule {}
