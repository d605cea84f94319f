import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');

/** Collects garbage: all of it, or only among what is young. */
export const collect = runInNewContext('gc') as (options?: { type: 'minor' }) => void;
