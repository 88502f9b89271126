/** What a person did and the server has not yet said that it has: kept in the browser's database until then. */

import type { Place } from "./office";

const DATABASE = "ki67-labelling";
const WORK = "work";

/** A label that waits to be saved; `version` is the one that it was made from. */
export interface Waiting {
  uuid: string;
  version: number;
  label: string;
  geometry: Place;
  deleted: boolean;
}

export interface Shape {
  label: string;
  geometry: Place;
}

/** What one stroke did to one label; null is where it was not there. */
export interface Change {
  uuid: string;
  before: Shape | null;
  after: Shape | null;
}

export interface Work {
  waiting: Waiting[];
  done: Change[][];
  undone: Change[][];
}

let opened: Promise<IDBDatabase> | null = null;

function database(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(WORK);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("The browser's database cannot be opened."));
  });
  return opened;
}

async function within<T>(mode: IDBTransactionMode, ask: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const transaction = (await database()).transaction(WORK, mode, { durability: "strict" });
  const request = ask(transaction.objectStore(WORK));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error("The browser did not keep it."));
  });
}

export async function readWork(key: string): Promise<Work> {
  const found = await within("readonly", (store) => store.get(key) as IDBRequest<Work | undefined>);
  return found ?? { waiting: [], done: [], undone: [] };
}

export async function keepWork(key: string, work: Work): Promise<void> {
  await within("readwrite", (store) => store.put(work, key));
}

/** Keys of work that waits: of a project and a person, or of a task of theirs, in any window. */
export async function keysWaiting(prefix: string): Promise<string[]> {
  const found: string[] = [];
  for (const key of await keysOf(prefix)) if ((await readWork(key)).waiting.length) found.push(key);
  return found;
}

async function keysOf(prefix: string): Promise<string[]> {
  const keys = await within("readonly", (store) => store.getAllKeys());
  return keys.filter((one): one is string => typeof one === "string" && one.startsWith(`${prefix} `));
}

/**
 * The key under which a window keeps its work on a task. What windows that are gone have left there comes into it; what
 * a window that is open keeps stays its own, so that neither writes over the other.
 */
export async function claimWork(prefix: string, name: string, open: ReadonlySet<string>): Promise<string> {
  const key = `${prefix} ${name}`;
  const own = await readWork(key);
  const left = (await keysOf(prefix)).filter((other) => other !== key && !open.has(other.slice(prefix.length + 1)));
  if (!left.length) return key;
  const works = await Promise.all(left.map(readWork));
  await keepWork(key, together(works, own));
  for (const other of left) await within("readwrite", (store) => store.delete(other));
  return key;
}

/** Several works as one; where two changed a label, the last one's stands. */
export function together(works: readonly Work[], own: Work): Work {
  const waiting = new Map([...works, own].flatMap((work) => work.waiting.map((one) => [one.uuid, one] as const)));
  const [remembered] = own.done.length || own.undone.length ? [own] : works.filter((work) => work.done.length || work.undone.length);
  return { waiting: [...waiting.values()], done: remembered?.done ?? [], undone: remembered?.undone ?? [] };
}
