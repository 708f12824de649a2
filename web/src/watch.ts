/** How long media that flowed may stand still before the node is doubted. */
export const STALL = 1_000;

/**
 * Watches whether anything arrives. Everything comes from one node: if all of
 * it stands still at once, the node may be gone without a word.
 */
export class Watch {
  private mark = 0;
  private last = 0;
  private flowing = false;

  /** Takes the sum of all marks; true, once, when what flowed has come to a stop. */
  feel(mark: number, now: number): boolean {
    if (mark !== this.mark) {
      this.mark = mark;
      this.last = now;
      this.flowing = mark > 0;
      return false;
    }
    if (!this.flowing || now - this.last < STALL) return false;
    this.flowing = false;
    return true;
  }
}
