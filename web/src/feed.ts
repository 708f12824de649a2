/**
 * What is shown of a participant: camera and microphone, or a screen. The stream
 * stays the same whatever connection its tracks come from, so that the picture
 * on the page is never taken down.
 */
export class Feed {
  /** Its connection has trouble. */
  problem = false;

  constructor(readonly stream: MediaStream) {}

  shows(kind: 'audio' | 'video'): boolean {
    return this.stream.getTracks().some((t) => t.kind === kind);
  }

  /** Shows this track instead of the one of its kind; false if it is shown already. */
  show(track: MediaStreamTrack): boolean {
    const old = this.stream.getTracks().filter((t) => t.kind === track.kind);
    if (old.includes(track)) return false;
    // In one step, so that there is neither silence nor an echo: a track that is
    // only taken out of the stream may still be heard. Two nodes may call their
    // tracks the same, and a stream takes no two of one name.
    const first = old.some((t) => t.id === track.id);
    if (first) this.drop(old);
    track.enabled = true;
    this.stream.addTrack(track);
    if (!first) this.drop(old);
    return true;
  }

  private drop(tracks: MediaStreamTrack[]): void {
    for (const t of tracks) {
      if (t.kind === 'audio') t.enabled = false;
      this.stream.removeTrack(t);
    }
  }
}
