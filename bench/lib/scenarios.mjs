import { scenario as commits } from '../scenarios/commits.mjs';
import { scenario as drain } from '../scenarios/drain.mjs';
import { scenario as flood } from '../scenarios/flood.mjs';
import { scenario as growth } from '../scenarios/growth.mjs';
import { scenario as instrumentation } from '../scenarios/instrumentation.mjs';
import { scenario as latency } from '../scenarios/latency.mjs';
import { scenario as listener } from '../scenarios/listener.mjs';
import { scenario as processes } from '../scenarios/processes.mjs';
import { scenario as restart } from '../scenarios/restart.mjs';
import { scenario as snapshot } from '../scenarios/snapshot.mjs';
import { scenario as takeover } from '../scenarios/takeover.mjs';

/**
 * In the order of the page. `run` measures, in the parent process; `section` writes the results down; the `play` of the
 * same file, where there is one, is the part in a process of its own.
 */
export const SCENARIOS = {
  drain,
  latency,
  processes,
  growth,
  snapshot,
  commits,
  flood,
  takeover,
  listener,
  restart,
  instrumentation,
};
