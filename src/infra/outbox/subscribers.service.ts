import { Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { MODULES, type ModuleName } from '../../common/context/context.js';
import type { EventContract, OutboxEvent } from './event.js';
import {
  type DeliveryRun,
  SUBSCRIPTIONS,
  type SubscriberOptions,
  type SubscriptionMetadata,
} from './on-outbox-event.decorator.js';

export interface Subscription {
  readonly name: string;
  readonly module: ModuleName;
  readonly contract: EventContract;
  readonly options: SubscriberOptions<unknown>;
  readonly handle: (event: OutboxEvent, run: DeliveryRun) => Promise<void>;
}

/**
 * Who listens to what, found at boot in every role: the writer of an event must know its subscribers
 * even where it does not run them.
 */
@Injectable()
export class Subscribers implements OnModuleInit {
  private readonly byEvent = new Map<string, Subscription[]>();
  private readonly byName = new Map<string, Map<string, Subscription>>();

  constructor(
    private readonly discovery: DiscoveryService,
    private readonly scanner: MetadataScanner,
  ) {}

  onModuleInit(): void {
    for (const { instance } of this.discovery.getProviders()) {
      if (!instance || typeof instance !== 'object') continue;
      const prototype = Object.getPrototypeOf(instance) as Record<string, unknown>;
      for (const key of this.scanner.getAllMethodNames(prototype)) {
        const method = prototype[key] as Subscription['handle'];
        const found: SubscriptionMetadata[] = Reflect.getMetadata(SUBSCRIPTIONS, method) ?? [];
        for (const metadata of found) this.add(metadata, method.bind(instance));
      }
    }
  }

  of(eventName: string): readonly Subscription[] {
    return this.byEvent.get(eventName) ?? [];
  }

  named(name: string, eventName: string): Subscription | undefined {
    return this.byName.get(name)?.get(eventName);
  }

  private add({ contract, options }: SubscriptionMetadata, handle: Subscription['handle']): void {
    const module = MODULES.find((name) => options.name.startsWith(`${name}.`));
    if (!module)
      throw new Error(`Subscription ${options.name} must begin with its context, e.g. reporting.${options.name}`);
    if (this.named(options.name, contract.name))
      throw new Error(`Two handlers are called ${options.name} for ${contract.name}; rename one`);
    const subscription = { name: options.name, module, contract, options, handle };
    const ofName = this.byName.get(options.name) ?? new Map<string, Subscription>();
    this.byName.set(options.name, ofName.set(contract.name, subscription));
    this.byEvent.set(contract.name, [...this.of(contract.name), subscription]);
  }
}
