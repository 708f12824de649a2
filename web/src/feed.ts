/** One way by which somebody can be heard. Each plays in an element of its own, and one is not muted. */
export interface Voice {
  readonly track: MediaStreamTrack;
  readonly stream: MediaStream;
  readonly heard: boolean;
}

/**
 * What is shown and heard of a participant: camera and microphone, or a screen.
 * It stays the same whatever connections its tracks come from, so that neither
 * picture nor sound is ever taken down on the page.
 */
export class Feed {
  /** Its connection has trouble. */
  problem = false;
  /** Its node has no strength for the picture, which stands still. */
  paused = false;
  /**
   * Sound changes from one connection to another by muting and unmuting what
   * plays already: exchanging the track of one element takes long, and a track
   * that was taken out of a stream may still be heard.
   */
  voices: readonly Voice[] = [];
  readonly stream: MediaStream;

  constructor(private readonly newStream: () => MediaStream) {
    this.stream = newStream();
  }

  get heard(): MediaStreamTrack | undefined {
    return this.voices.find((v) => v.heard)?.track;
  }

  get shown(): MediaStreamTrack | undefined {
    return this.stream.getTracks()[0];
  }

  /** Shows this track instead of another; false if it is shown already. */
  show(track: MediaStreamTrack): boolean {
    const { shown: old } = this;
    if (track === old) return false;
    // A browser keeps the last picture when there is always a track. But two
    // nodes may call theirs the same, and a stream takes no two of one name.
    if (old?.id === track.id) this.stream.removeTrack(old);
    this.stream.addTrack(track);
    if (old && old.id !== track.id) this.stream.removeTrack(old);
    return true;
  }

  /** Plays these tracks, so that one is heard; false if that is how it is. */
  hear(tracks: MediaStreamTrack[], heard: MediaStreamTrack | undefined): boolean {
    const same = tracks.length === this.voices.length && this.voices.every((v, i) => v.track === tracks[i] && v.heard === (v.track === heard));
    if (same) return false;
    this.voices = tracks.map((track) => {
      const known = this.voices.find((v) => v.track === track);
      return { track, stream: known?.stream ?? this.alone(track), heard: track === heard };
    });
    return true;
  }

  private alone(track: MediaStreamTrack): MediaStream {
    const stream = this.newStream();
    stream.addTrack(track);
    return stream;
  }
}
