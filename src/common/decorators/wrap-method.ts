/**
 * Replaces a method by a wrapper at decoration time, so that it holds for routes, crons, handlers and direct calls
 * alike, in tests too. Keeps the function's name and Reflect metadata: Nest's own decorators store theirs on the
 * function, and a wrapper that drops them silently unregisters a route or a cron.
 */
export function wrapMethod(
  wrapper: (original: (...args: unknown[]) => unknown, self: unknown, args: unknown[]) => unknown,
): MethodDecorator {
  return (_target, _key, descriptor: PropertyDescriptor) => {
    const original = descriptor.value as (...args: unknown[]) => unknown;
    function replacement(this: unknown, ...args: unknown[]) {
      return wrapper(original, this, args);
    }
    Object.defineProperty(replacement, 'name', { value: original.name });
    for (const metadataKey of Reflect.getMetadataKeys(original)) {
      Reflect.defineMetadata(metadataKey, Reflect.getMetadata(metadataKey, original), replacement);
    }
    descriptor.value = replacement;
    return descriptor;
  };
}
