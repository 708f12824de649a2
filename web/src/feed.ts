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
    // In one step, so that there is neither silence nor an echo. A track that
    // is only taken out of the stream may still be heard.
    track.enabled = true;
    this.stream.addTrack(track);
    for (const t of old) {
      if (t.kind === 'audio') t.enabled = false;
      this.stream.removeTrack(t);
    }
    return true;
  }
}
