import { AsyncLocalStorage } from 'node:async_hooks';

/** Runs work outside of the request, span or run in which it happened to become possible. */
export const detached = AsyncLocalStorage.snapshot();
