import de from './locales/de.json';
import en from './locales/en.json';

export type Key = keyof typeof en;

const KEY = 'talkd.lang';
const texts: Record<string, Record<Key, string>> = { de, en };

export function chooseLanguage(stored: string | null, preferred: readonly string[]): 'de' | 'en' {
  for (const want of [stored ?? '', ...preferred]) {
    const language = want.slice(0, 2).toLowerCase();
    if (language === 'de' || language === 'en') return language;
  }
  return 'en';
}

export const language = chooseLanguage(globalThis.localStorage?.getItem(KEY) ?? null, globalThis.navigator?.languages ?? []);

export function t(key: Key, values: Record<string, string | number> = {}): string {
  const text = texts[language]?.[key] ?? en[key];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** A key that is known only at run time; fallback when there is no such text. */
export function tOr(key: string, fallback: Key): string {
  return t(key in en ? (key as Key) : fallback);
}

export function switchLanguage(): void {
  localStorage.setItem(KEY, language === 'de' ? 'en' : 'de');
  location.reload();
}
