/** What is remembered on this device between calls. */
export interface Prefs {
  mic: string;
  cam: string;
  micOn: boolean;
  /** Off until somebody turns it on: video costs others twenty times as much. */
  camOn: boolean;
  name: string;
}

const KEY = 'talkd.prefs';
const DEFAULTS: Prefs = { mic: '', cam: '', micOn: true, camOn: false, name: '' };

export function loadPrefs(storage: Storage = localStorage): Prefs {
  try {
    const saved: unknown = JSON.parse(storage.getItem(KEY) ?? '{}');
    return typeof saved === 'object' && saved !== null ? { ...DEFAULTS, ...saved } : { ...DEFAULTS };
  } catch {
    return { ...DEFAULTS };
  }
}

export function savePrefs(change: Partial<Prefs>, storage: Storage = localStorage): void {
  try {
    storage.setItem(KEY, JSON.stringify({ ...loadPrefs(storage), ...change }));
  } catch {
    // A full or forbidden storage only means that nothing is remembered.
  }
}
