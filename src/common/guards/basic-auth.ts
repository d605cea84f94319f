import { hash, timingSafeEqual } from 'node:crypto';
import { AppError } from '../errors/app-error.js';

export interface Credentials {
  username: string;
  password: string;
}

/**
 * Checks an `Authorization: Basic` header against every allowed pair, in time that tells nothing about any of them:
 * digests of equal length are compared, all of them, always.
 * @returns the user's name
 * @throws AppError `auth.credentials_required` (401)
 */
export function requireBasicAuth(header: string | undefined, allowed: readonly Credentials[]): string {
  const [scheme, encoded] = (header ?? '').split(' ');
  const given = scheme?.toLowerCase() === 'basic' ? Buffer.from(encoded ?? '', 'base64').toString('utf8') : '';
  let matched: string | undefined;
  for (const { username, password } of allowed) {
    const same = timingSafeEqual(digest(given), digest(`${username}:${password}`));
    if (same) matched = username;
  }
  if (matched === undefined) {
    throw new AppError({ code: 'auth.credentials_required', status: 401, message: 'Credentials required' });
  }
  return matched;
}

function digest(text: string): Buffer {
  return Buffer.from(hash('sha256', text), 'hex');
}
