/** A small typed event emitter. A listener that throws does not stop the others. */
export class Emitter<Events extends object> {
  private readonly listeners = new Map<keyof Events, Set<(value: never) => void>>();

  /** Calls fn for every event of this name until the returned function is called. */
  on<K extends keyof Events>(name: K, fn: (value: Events[K]) => void): () => void {
    let set = this.listeners.get(name);
    if (!set) this.listeners.set(name, (set = new Set()));
    set.add(fn as (value: never) => void);
    return () => set.delete(fn as (value: never) => void);
  }

  protected emit<K extends keyof Events>(name: K, value: Events[K]): void {
    // A copy: a listener may take itself off.
    for (const fn of Array.from(this.listeners.get(name) ?? [])) {
      try {
        (fn as (value: Events[K]) => void)(value);
      } catch (err) {
        // Told as an uncaught error, so that it is seen, without ending the loop.
        queueMicrotask(() => {
          throw err;
        });
      }
    }
  }
}
