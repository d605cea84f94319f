/**
 * Waits until nothing is under way any more, what is added meanwhile included, at most `deadlineMs`.
 * @returns whether everything ended; what did not goes on by itself
 */
export async function settled(underWay: ReadonlySet<Promise<unknown>>, deadlineMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), deadlineMs);
  });
  const ended = new Set<Promise<unknown>>();
  try {
    for (;;) {
      const open = [...underWay].filter((work) => !ended.has(work));
      if (open.length === 0) return true;
      // race: only the waiting ends; each piece of work has a deadline of its own.
      if ((await Promise.race([Promise.allSettled(open), late])) === 'late') return false;
      for (const work of open) ended.add(work);
    }
  } finally {
    clearTimeout(timer);
  }
}
