import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { requireBasicAuth } from '../../common/guards/basic-auth.js';
import { Config } from '../config/config.js';

/** Basic auth of `/ops` and everything below. */
@Injectable()
export class OpsGuard implements CanActivate {
  constructor(private readonly config: Config) {}

  canActivate(context: ExecutionContext): boolean {
    const { OPS_USERNAME, OPS_PASSWORD } = this.config.env;
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    requireBasicAuth(request.headers.authorization, [{ username: OPS_USERNAME, password: OPS_PASSWORD }]);
    return true;
  }
}
