import { z } from 'zod';
import { AppError } from './app-error.js';

/**
 * The body as its schema reads it.
 * @throws AppError `request.invalid` (400) with every problem by field and rule, never by value
 */
export function valid<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new AppError({
    code: 'request.invalid',
    status: 400,
    message: 'The request is not valid',
    details: { problems: parsed.error.issues.map(({ path, message }) => ({ field: path.join('.'), message })) },
  });
}

export function isUuid(id: string): boolean {
  return z.uuid().safeParse(id).success;
}

/** @throws AppError `request.not_found` (404): an id that cannot exist */
export function validUuid(id: string): string {
  if (isUuid(id)) return id;
  throw new AppError({ code: 'request.not_found', status: 404, message: 'No such id' });
}
