import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import type { FastifyReply } from 'fastify';

/** A probe that fails answers with its own status and its own account of what is down; it is no error of ours to log. */
@Catch(HttpException)
export class HealthFilter implements ExceptionFilter<HttpException> {
  catch(error: HttpException, host: ArgumentsHost): void {
    host.switchToHttp().getResponse<FastifyReply>().status(error.getStatus()).send(error.getResponse());
  }
}
