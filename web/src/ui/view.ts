/** Action: shows a stream in an element; blocked is called when the browser refuses to play. */
export function plays(node: HTMLMediaElement, options: { stream: MediaStream | null; blocked?: () => void }) {
  const apply = ({ stream, blocked }: typeof options) => {
    if (node.srcObject !== stream) node.srcObject = stream;
    if (!stream) return;
    node.play().catch((err: unknown) => {
      // AbortError only says that a newer picture came first.
      if (err instanceof DOMException && err.name === 'NotAllowedError') blocked?.();
    });
  };
  apply(options);
  return {
    update: apply,
    destroy: () => {
      node.srcObject = null;
    },
  };
}

/** Up to two letters for a picture of somebody. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return letters.map((w) => [...(w ?? '')][0] ?? '').join('').toUpperCase();
}

/** A hue that stays with a name. */
export function hue(name: string): number {
  let h = 0;
  for (const c of name) h = (h * 31 + (c.codePointAt(0) ?? 0)) % 360;
  return h;
}

/** The number of columns that makes n tiles of 16:9 largest in a box. */
export function columns(n: number, width: number, height: number, gap: number): { columns: number; width: number } {
  let best = { columns: 1, width: 0 };
  for (let c = 1; c <= Math.max(1, n); c++) {
    const rows = Math.ceil(n / c);
    const byWidth = (width - gap * (c - 1)) / c;
    const byHeight = (((height - gap * (rows - 1)) / rows) * 16) / 9;
    const w = Math.floor(Math.min(byWidth, byHeight));
    if (w > best.width) best = { columns: c, width: w };
  }
  return best;
}
