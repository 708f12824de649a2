import type { CandidateInit, PeerData, Recipient } from './wire';

/** What connections need from outside; tests bring their own. */
export interface PeerDeps {
  peer(): RTCPeerConnection;
  send(to: Recipient, data: PeerData): void;
  now(): number;
}

/** A message on the data channel "status". */
export interface StatusMessage {
  type: string;
  payload?: unknown;
}

export const OFFER_RETRY = 10_000;
/** How long "disconnected" may last before it is shown as a problem. */
export const DISCONNECTED_GRACE = 5_000;
const MAX_EARLY_CANDIDATES = 64;
const MAX_STATUS = 4_096;

/** Candidates that come before the description they belong to, bounded. */
export class EarlyCandidates {
  private list: { sid: string; candidate: CandidateInit }[] = [];

  add(sid: string, candidate: CandidateInit): void {
    if (this.list.length < MAX_EARLY_CANDIDATES) this.list.push({ sid, candidate });
  }

  /** Takes out those of this connection; those of others are dropped. */
  take(sid: string): CandidateInit[] {
    const mine = this.list.filter((c) => c.sid === sid || c.sid === '').map((c) => c.candidate);
    this.list = [];
    return mine;
  }
}

/** Adds a candidate; a bad one costs one path, not the connection. */
export async function addCandidate(pc: RTCPeerConnection, c: CandidateInit): Promise<void> {
  try {
    await pc.addIceCandidate(c);
  } catch {
    // Nothing to do: the others remain.
  }
}

export function parseStatus(data: unknown): StatusMessage | null {
  if (typeof data !== 'string' || data.length > MAX_STATUS) return null;
  try {
    const m: unknown = JSON.parse(data);
    if (typeof m === 'object' && m !== null && typeof (m as StatusMessage).type === 'string') return m as StatusMessage;
  } catch {
    // Not ours.
  }
  return null;
}

/** Names come as text or in an object, depending on the way and the client. */
export function nickOf(payload: unknown): string {
  if (typeof payload === 'string') return payload.slice(0, 100);
  if (typeof payload === 'object' && payload !== null && 'name' in payload && typeof payload.name === 'string') {
    return payload.name.slice(0, 100);
  }
  return '';
}

export function candidateData(c: RTCIceCandidate): CandidateInit {
  const init: CandidateInit = { candidate: c.candidate, sdpMid: c.sdpMid ?? '' };
  if (c.sdpMLineIndex !== null) init.sdpMLineIndex = c.sdpMLineIndex;
  return init;
}
