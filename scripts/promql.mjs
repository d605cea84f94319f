/** What a PromQL expression reads, as far as checking names takes: no grammar, only its words. */

const WORDS =
  /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|#.*|\$?[a-zA-Z_:][\w:]*|[\d.][\w.]*|=~|!~|!=|==|>=|<=|[(){}[\],=<>]/g;
const AGGREGATIONS = new Set('sum min max avg count group stddev stdvar topk bottomk quantile count_values'.split(' '));
const OPERATORS = new Set('and or unless offset bool inf nan atan2 start end'.split(' '));
const LABEL_LISTS = new Set('by without on ignoring group_left group_right'.split(' '));
const isName = (word) => /^[a-zA-Z_:]/.test(word ?? '');

/**
 * The series that an expression selects, each with its matchers.
 * @param {string} expr
 * @returns {{ name: string, matchers: { label: string, operator: string, value: string }[] }[]}
 */
export function metricsIn(expr) {
  return parse(expr).metrics;
}

/**
 * The labels that an expression groups or joins by.
 * @param {string} expr
 * @returns {string[]}
 */
export function groupingsIn(expr) {
  return parse(expr).groupings;
}

function parse(expr) {
  const words = (expr.match(WORDS) ?? []).filter((word) => !word.startsWith('#'));
  const metrics = [];
  const groupings = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at];
    if (LABEL_LISTS.has(word)) {
      if (words[at + 1] !== '(') continue;
      for (at += 2; words[at] !== ')' && at < words.length; at += 1) if (isName(words[at])) groupings.push(words[at]);
    } else if (word === '{') {
      throw new Error(`a selector without a name cannot be checked: ${expr}`);
    } else if (isName(word) && words[at + 1] !== '(' && !AGGREGATIONS.has(word) && !OPERATORS.has(word.toLowerCase())) {
      const metric = { name: word, matchers: [] };
      metrics.push(metric);
      if (words[at + 1] !== '{') continue;
      for (at += 2; words[at] !== '}' && at < words.length; at += 1) {
        if (!isName(words[at])) continue;
        const [label, operator, quoted] = words.slice(at, at + 3);
        metric.matchers.push({ label, operator, value: quoted.slice(1, -1) });
        at += 2;
      }
    }
  }
  return { metrics, groupings };
}
