import { hash, timingSafeEqual } from 'node:crypto';
import { AppError } from '../errors/app-error.js';

export interface Credentials {
  username: string;
  password: string;
}

/**
 * Checks an `Authorization: Basic` header against every allowed pair, in time that tells nothing about any of them:
 * digests of equal length are compared, all of them, always.
 * @throws AppError `auth.credentials_required` (401)
 */
export function requireBasicAuth(header: string | undefined, allowed: readonly Credentials[]): void {
  const [scheme, encoded] = (header ?? '').split(' ');
  const given = scheme?.toLowerCase() === 'basic' ? Buffer.from(encoded ?? '', 'base64').toString('utf8') : '';
  let matched = false;
  for (const { username, password } of allowed) {
    const same = timingSafeEqual(digest(given), digest(`${username}:${password}`));
    matched = matched || same;
  }
  if (!matched) {
    throw new AppError({ code: 'auth.credentials_required', status: 401, message: 'Credentials required' });
  }
}

function digest(text: string): Buffer {
  return Buffer.from(hash('sha256', text), 'hex');
}
