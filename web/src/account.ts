import type { Account } from './api';
import type { GuestStore } from './meeting';

const KEY = 'talkd.account';
const GUEST = 'talkd.guest.';

export function loadAccount(): Account | null {
  try {
    const saved: unknown = JSON.parse(localStorage.getItem(KEY) ?? 'null');
    if (typeof saved === 'object' && saved !== null && typeof (saved as Account).token === 'string') return saved as Account;
  } catch {
    // As if nobody had signed in.
  }
  return null;
}

export function saveAccount(account: Account | null): void {
  if (account) localStorage.setItem(KEY, JSON.stringify(account));
  else localStorage.removeItem(KEY);
  // The token is not in it: the cookie only tells the node that a page of this
  // origin has a login and must not be redirected to another origin.
  const secure = location.protocol === 'https:' ? '; Secure' : '';
  document.cookie = `talkd_login=${account ? '1; Max-Age=31536000' : '; Max-Age=0'}; Path=/; SameSite=Lax${secure}`;
}

/** Guests are guests of one tab. */
export const guests: GuestStore = {
  get: (room) => sessionStorage.getItem(GUEST + room) ?? '',
  set: (room, token) => {
    if (token) sessionStorage.setItem(GUEST + room, token);
    else sessionStorage.removeItem(GUEST + room);
  },
};
