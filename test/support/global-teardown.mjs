/** Stops and removes the server that global setup started; one that TEST_POSTGRES_URL named stays. */
export default async function globalTeardown() {
  await globalThis.stopTestPostgres?.();
}
