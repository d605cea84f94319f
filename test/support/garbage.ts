import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
// Else V8 puts things of a kind that has often survived among the old from the start, where minor collections leave them.
setFlagsFromString('--no-allocation-site-pretenuring');

/** Collects garbage: all of it, or only among what is young. */
export const collect = runInNewContext('gc') as (options?: { type: 'minor' }) => void;
