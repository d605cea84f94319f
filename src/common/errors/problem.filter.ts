import { STATUS_CODES } from 'node:http';
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { PinoLogger } from 'nestjs-pino';
import { currentContext } from '../context/context.js';
import { describeRequest } from '../interceptors/http-edge.interceptor.js';
import { AppError } from './app-error.js';

interface Problem {
  type: 'about:blank';
  title: string;
  status: number;
  code: string;
  correlation_id?: string;
  [extension: string]: unknown;
}

/**
 * The one place where an error becomes an answer: an RFC 9457 problem with a stable `code`.
 * Whatever is not ours is a 500 that says nothing; on a webhook it is a 503, so that the provider tries again.
 */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly logger: PinoLogger) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const request = host.switchToHttp().getRequest<FastifyRequest>();
    const problem = this.problemOf(error, request);
    // Not the title of what is not ours: it may repeat the URL, or a piece of the body.
    const message = error instanceof AppError ? error.message : STATUS_CODES[problem.status];
    describeRequest(request, { error_code: problem.code, error_message: message });
    if (error instanceof AppError) this.logger[error.logLevel]({ err: error }, 'request refused');
    else if (problem.status >= 500) this.logger.error({ err: error }, 'request failed');
    if (problem.status === 401) reply.header('www-authenticate', 'Basic realm="nevermisscall", charset="UTF-8"');
    reply.status(problem.status).header('content-type', 'application/problem+json; charset=utf-8').send(problem);
  }

  private problemOf(error: unknown, request: FastifyRequest): Problem {
    const correlation = { correlation_id: currentContext()?.correlationId };
    const isWebhook = request.url.startsWith('/webhooks/');
    if (error instanceof AppError && (error.status < 500 || !isWebhook)) {
      return {
        type: 'about:blank',
        title: error.message,
        status: error.status,
        code: error.code,
        ...error.details,
        ...correlation,
      };
    }
    const known = httpStatusOf(error);
    if (known && known < 500) {
      const title = error instanceof Error ? error.message : 'Refused';
      return { type: 'about:blank', title, status: known, code: `http.${known}`, ...correlation };
    }
    return isWebhook
      ? {
          type: 'about:blank',
          title: 'Not stored, please retry',
          status: 503,
          code: 'webhook.not_stored',
          ...correlation,
        }
      : { type: 'about:blank', title: 'Internal error', status: 500, code: 'internal', ...correlation };
  }
}

function httpStatusOf(error: unknown): number | undefined {
  if (error instanceof HttpException) return error.getStatus();
  // Fastify's own refusals: unreadable or oversized bodies, unsupported media types.
  const { statusCode } = (error ?? {}) as { statusCode?: unknown };
  return typeof statusCode === 'number' ? statusCode : undefined;
}
