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
    const from = performance.now();
    const note = (/** @type {any} */ result) => {
      if (result?.rows?.length > 0) claims.push({ ms: performance.now() - from, rows: result.rows.length });
    };
    // The pool hands a callback over, alone or behind the values.
    const callback = rest.at(-1);
    if (typeof callback === 'function') {
      rest[rest.length - 1] = (/** @type {any} */ error, /** @type {any} */ result) => {
        note(result);
        callback(error, result);
      };
      return query.call(this, config, ...rest);
    }
    const answer = query.call(this, config, ...rest);
    answer?.then?.(note, () => {});
    return answer;
  };
  return claims;
}
