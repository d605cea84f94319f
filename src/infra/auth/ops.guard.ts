import { type CanActivate, createParamDecorator, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { AppError } from '../../common/errors/app-error.js';
import { requireBasicAuth } from '../../common/guards/basic-auth.js';
import { Config } from '../config/config.js';

const operators = new WeakMap<FastifyRequest, string>();

/** Basic auth of `/ops` and everything below. */
@Injectable()
export class OpsGuard implements CanActivate {
  constructor(private readonly config: Config) {}

  canActivate(context: ExecutionContext): boolean {
    const { OPS_USERNAME, OPS_PASSWORD } = this.config.env;
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const allowed = [{ username: OPS_USERNAME, password: OPS_PASSWORD }];
    operators.set(request, requireBasicAuth(request.headers.authorization, allowed));
    refuseOtherSites(request);
    return true;
  }
}

/** The operator who asks, as a parameter of a method behind `OpsGuard`. */
export const Operator = createParamDecorator((_data: unknown, context: ExecutionContext): string => {
  const operator = operators.get(context.switchToHttp().getRequest<FastifyRequest>());
  if (operator === undefined) throw new Error('@Operator() needs the OpsGuard');
  return operator;
});

/** A browser that knows the password sends it along with a form of any site; it also says that it is another site's. */
function refuseOtherSites({ method, headers }: FastifyRequest): void {
  const site = headers['sec-fetch-site'];
  if (method === 'GET' || method === 'HEAD' || site === undefined || site === 'same-origin' || site === 'none') return;
  throw new AppError({ code: 'auth.cross_site', status: 403, message: 'Not allowed from another site' });
}
