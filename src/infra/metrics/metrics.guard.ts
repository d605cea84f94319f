import { BlockList, isIPv6 } from 'node:net';
import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { AppError } from '../../common/errors/app-error.js';
import { requireBasicAuth } from '../../common/guards/basic-auth.js';
import { Config } from '../config/config.js';

/** Basic auth, and the allow-list of the socket's address where one is set. */
@Injectable()
export class MetricsGuard implements CanActivate {
  private readonly allowed: BlockList | undefined;

  constructor(private readonly config: Config) {
    this.allowed = config.metricsAllowList;
  }

  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const address = request.socket.remoteAddress ?? '';
    if (this.allowed && !this.allowed.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')) {
      throw new AppError({ code: 'auth.address_not_allowed', status: 403, message: 'Not allowed from this address' });
    }
    requireBasicAuth(request.headers.authorization, this.config.metricsCredentials);
    return true;
  }
}
