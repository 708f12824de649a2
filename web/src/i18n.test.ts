import { expect, test } from 'vitest';
import { chooseLanguage, t, tOr } from './i18n';
import de from './locales/de.json';
import en from './locales/en.json';
import { columns, initials } from './ui/view';

const places = (s: string) => (s.match(/\{\w+\}/g) ?? []).toSorted();

test('both languages have the same texts with the same places to fill', () => {
  expect(Object.keys(de)).toEqual(Object.keys(en));
  for (const [key, text] of Object.entries(en)) {
    expect(places(de[key as keyof typeof de]), key).toEqual(places(text));
    expect(text.trim(), key).not.toBe('');
  }
});

test('the language is the chosen one, else the first the browser prefers', () => {
  expect(chooseLanguage('de', ['en-GB'])).toBe('de');
  expect(chooseLanguage(null, ['fr-FR', 'de-AT', 'en'])).toBe('de');
  expect(chooseLanguage('xx', [])).toBe('en');
});

test('texts are filled in; unknown keys fall back', () => {
  expect(t('call.served', { node: 'n1' })).toContain('n1');
  expect(tOr('over.something', 'over.lost')).toBe(t('over.lost'));
  expect(tOr('over.ended', 'over.lost')).toBe(t('over.ended'));
});

test('the grid makes tiles as large as they can be', () => {
  expect(columns(1, 1600, 900, 0)).toEqual({ columns: 1, width: 1600 });
  expect(columns(4, 1600, 900, 0)).toEqual({ columns: 2, width: 800 });
  expect(columns(3, 360, 700, 0).columns).toBe(1);
  expect(columns(3, 1000, 100, 0).columns).toBe(3);
});

test('initials', () => {
  expect(initials('Ada Lovelace King')).toBe('AK');
  expect(initials('  ö ')).toBe('Ö');
  expect(initials('')).toBe('');
});
