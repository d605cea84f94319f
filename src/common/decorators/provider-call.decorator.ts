import { AsyncLocalStorage } from 'node:async_hooks';
import { applyDecorators, SetMetadata } from '@nestjs/common';
import { SpanKind } from '@opentelemetry/api';
import type { OperationId, Provider } from '../metrics/catalogue.js';
import { inSpan } from '../tracing/spans.js';
import { wrapMethod } from './wrap-method.js';

export interface ProviderOperation {
  provider: Provider;
  /** Operation id such as `messages.create`; never a URL. */
  endpoint: OperationId;
}

/** Marks a method as observed, so that a test can find those that are not. */
export const PROVIDER_OPERATION = Symbol('provider:operation');

const running = new AsyncLocalStorage<ProviderOperation>();

/** The provider operation in whose name the current HTTP request is made. */
export function currentProviderOperation(): ProviderOperation | undefined {
  return running.getStore();
}

/**
 * Names a public method of a provider client: its span is `<provider>.<endpoint>`, and every HTTP request made
 * inside is counted and timed under that operation by the instrumented HTTP client.
 */
export function ProviderCall(operation: ProviderOperation): MethodDecorator {
  return applyDecorators(
    SetMetadata(PROVIDER_OPERATION, operation),
    wrapMethod((original, self, args) =>
      running.run(operation, () =>
        inSpan(
          `${operation.provider}.${operation.endpoint}`,
          {
            kind: SpanKind.CLIENT,
            attributes: { 'peer.service': operation.provider, 'rpc.method': operation.endpoint },
          },
          () => original.apply(self, args),
        ),
      ),
    ),
  );
}
