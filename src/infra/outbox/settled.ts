/**
 * Waits until nothing is under way any more, what is added meanwhile included, at most `deadlineMs`.
 * @returns whether everything ended; what did not goes on by itself
 */
export async function settled(underWay: ReadonlySet<Promise<unknown>>, deadlineMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), deadlineMs);
  });
  try {
    // race: only the waiting ends; each piece of work has a deadline of its own.
    while (underWay.size > 0) if ((await Promise.race([Promise.allSettled(underWay), late])) === 'late') return false;
    return true;
  } finally {
    clearTimeout(timer);
  }
}
