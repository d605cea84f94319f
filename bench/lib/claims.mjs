/**
 * Times every claim that goes over this driver from now on, whoever issues it: any statement that skips locked rows and
 * answers with rows. The array is filled as they are answered.
 * @param {any} pg the `pg` that the contender uses
 * @returns {{ ms: number, rows: number }[]}
 */
export function watchClaims({ Client }) {
  /** @type {{ ms: number, rows: number }[]} */
  const claims = [];
  const query = Client.prototype.query;
  Client.prototype.query = function watched(/** @type {any} */ config, /** @type {any[]} */ ...rest) {
    const text = typeof config === 'string' ? config : config?.text;
    if (!/skip\s+locked/i.test(text ?? '')) return query.call(this, config, ...rest);
    // The pool hands a callback over, alone or behind the values.
    const callback = rest.at(-1);
    if (typeof callback === 'function') {
      rest[rest.length - 1] = noting(claims, callback);
      return query.call(this, config, ...rest);
    }
    const answer = query.call(this, config, ...rest);
    const note = noting(claims, () => {});
    answer?.then?.(
      (/** @type {any} */ result) => note(undefined, result),
      () => {},
    );
    return answer;
  };
  return claims;
}

/** A function of its own: a closure that holds the statement ties it to the ones before, and makes collections long. */
function noting(/** @type {{ ms: number, rows: number }[]} */ claims, /** @type {Function} */ callback) {
  const from = performance.now();
  return (/** @type {any} */ error, /** @type {any} */ result) => {
    if (result?.rows?.length > 0) claims.push({ ms: performance.now() - from, rows: result.rows.length });
    callback(error, result);
  };
}
