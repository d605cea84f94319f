import { loadContender } from '../contenders/contender.mjs';

/** Makes a contender's tables and, if asked for, a history of finished jobs. */
export async function play({ contender: name, url, settings }) {
  const contender = await loadContender(name);
  await contender.install(url, settings);
}
