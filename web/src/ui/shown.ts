// What the page of a call shows, read from Meeting and LocalMedia.

import { t } from '../i18n';
import type { LocalMedia } from '../media';
import type { Meeting } from '../meeting';

export type Shown = ReturnType<typeof shown>;

export function shown(meeting: Meeting, media: LocalMedia) {
  const { call, signaling } = meeting;
  const people = call.presence.inCall();
  return {
    joining: meeting.phase === 'joining',
    reason: meeting.reason,
    reconnecting: meeting.reconnecting,
    serving: signaling.serving,
    home: signaling.home,
    session: signaling.sessionID,
    name: meeting.name,
    micOn: media.micOn && media.mic !== null,
    camOn: media.camOn && media.cam !== null,
    preview: media.preview,
    sharing: media.screen !== null,
    people: people.map((p) => ({
      session: p.session,
      name: p.name || t('call.guest'),
      stream: p.camera?.stream ?? null,
      voices: p.camera?.voices ?? [],
      audio: p.audio === true,
      video: p.video === true,
      speaking: p.speaking && p.audio !== false,
      problem: p.camera?.problem ?? false,
      paused: p.camera?.paused ?? false,
    })),
    screens: people.flatMap((p) =>
      p.screen && p.screen.stream.getTracks().length > 0 ? [{ session: p.session, name: p.name || t('call.guest'), stream: p.screen.stream, paused: p.screen.paused }] : [],
    ),
  };
}
