import { applyDecorators, HttpCode, Post } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import type { Provider, WebhookEndpoint } from '../metrics/catalogue.js';
import { inSpan } from '../tracing/spans.js';
import { wrapMethod } from './wrap-method.js';

export interface WebhookRoute {
  provider: Provider;
  endpoint: WebhookEndpoint;
}

/**
 * A provider's webhook: its route, the span `webhook.<provider>.<endpoint>` around the handler, and the mark by which
 * the HTTP edge records `webhook_handler_duration_ms` for every outcome, refused signatures included.
 */
export function Webhook(path: string, route: WebhookRoute): MethodDecorator {
  return applyDecorators(
    Post(path),
    HttpCode(200),
    RouteConfig({ webhook: route }),
    wrapMethod((original, self, args) =>
      inSpan(`webhook.${route.provider}.${route.endpoint}`, {}, () => original.apply(self, args)),
    ),
  );
}
