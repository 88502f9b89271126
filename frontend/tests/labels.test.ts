import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Refusal } from "../src/api";
import type { Work } from "../src/labelling/local";
import type { Label } from "../src/labelling/office";

const kept = new Map<string, Work>();
vi.mock("../src/labelling/local", () => ({
  readWork: async (key: string): Promise<Work> => structuredClone(kept.get(key)) ?? { waiting: [], done: [], undone: [] },
  keepWork: async (key: string, work: Work): Promise<void> => void kept.set(key, structuredClone(work)),
}));
const { Labels } = await import("../src/labelling/labels");

/** A server that counts versions and refuses stale ones, as the real one does. */
class Server {
  readonly labels = new Map<string, Label>();
  down: Refusal | null = null;
  lostAnswer = false;
  saves = 0;

  save = async (_task: number, changes: readonly Label[]): Promise<{ labels: Label[] }> => {
    if (this.down) throw this.down;
    this.saves += 1;
    const saved = changes.map((change) => {
      const stands = this.labels.get(change.uuid);
      if (stands && stands.version !== change.version) {
        const same = stands.label === change.label && stands.deleted === change.deleted && stands.version === change.version + 1;
        if (!same) throw new Refusal(409, "changed meanwhile", { mine: change, theirs: stands });
        return stands;
      }
      return { ...change, version: change.version + 1 };
    });
    for (const label of saved) this.labels.set(label.uuid, label);
    if (this.lostAnswer) throw new Refusal(0, "no answer");
    return { labels: saved };
  };

  get standing(): string[] {
    return [...this.labels.values()].filter((one) => !one.deleted).map((one) => one.label).sort();
  }
}

const at = (label: string) => ({ label, geometry: { type: "Point" as const, coordinates: [1, 2] as const } });
const later = (): Promise<unknown> => vi.advanceTimersByTimeAsync(20_000);
const server = (): Server => new Server();
let live: Awaited<ReturnType<typeof Labels.open>>[] = [];
async function open(one: Server): Promise<Awaited<ReturnType<typeof Labels.open>>> {
  const found = await Labels.open(1, "key", [...one.labels.values()].filter((label) => !label.deleted), one.save);
  live.push(found);
  return found;
}

beforeEach(() => {
  kept.clear();
  vi.useFakeTimers();
  vi.stubGlobal("window", { addEventListener: () => undefined, removeEventListener: () => undefined, setTimeout, clearTimeout });
});
afterEach(() => {
  for (const one of live) one.close();
  live = [];
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("labels", () => {
  it("are saved soon, and undone and redone on the server too", async () => {
    const one = server();
    const labels = await open(one);
    labels.edit([{ uuid: "a", after: at("IDC") }]);
    expect(kept.size).toBe(0);
    await later();
    expect([one.standing, labels.saving, labels.unsaved]).toEqual([["IDC"], "saved", 0]);
    expect(kept.get("key")?.waiting).toEqual([]);
    labels.edit([{ uuid: "a", after: at("DCIS") }]);
    labels.undo();
    labels.undo();
    await later();
    expect(one.standing).toEqual([]);
    labels.redo();
    labels.redo();
    await later();
    expect(one.standing).toEqual(["DCIS"]);
  });

  it("outlive a server that is down and a page that is loaded again", async () => {
    const one = server();
    one.down = new Refusal(0, "no answer");
    const before = await open(one);
    before.edit([{ uuid: "a", after: at("IDC") }]);
    await later();
    expect([before.saving, before.unsaved]).toEqual(["offline", 1]);
    before.close();
    one.down = null;
    const labels = await open(one);
    expect([...labels.shapes.keys()]).toEqual(["a"]);
    labels.sendSoon(0);
    await later();
    expect([one.standing, labels.saving]).toEqual([["IDC"], "saved"]);
    labels.undo();
    await later();
    expect(one.standing).toEqual([]);
  });

  it("are sent again when the answer was lost, and stand once", async () => {
    const one = server();
    const labels = await open(one);
    one.lostAnswer = true;
    labels.edit([{ uuid: "a", after: at("IDC") }]);
    await vi.advanceTimersByTimeAsync(600);
    expect(labels.unsaved).toBe(1);
    one.lostAnswer = false;
    await later();
    expect([one.standing, labels.saving, one.labels.get("a")?.version]).toEqual([["IDC"], "saved", 1]);
  });

  it("wait for a login, a lease, or a person where the server refuses, and are not sent meanwhile", async () => {
    for (const [status, saving] of [[401, "login"], [423, "held"], [403, "refused"]] as const) {
      kept.clear();
      const one = server();
      const labels = await open(one);
      one.down = new Refusal(status, "not now");
      labels.edit([{ uuid: "a", after: at("IDC") }]);
      await later();
      expect([labels.saving, labels.unsaved]).toEqual([saving, 1]);
      one.down = null;
      await later();
      expect(one.standing).toEqual([]);
      labels.sendSoon(0);
      await later();
      expect(one.standing).toEqual(["IDC"]);
    }
  });

  it.each([
    ["mine", ["mine"]],
    ["theirs", ["theirs"]],
    ["both", ["mine", "theirs"]],
  ] as const)("stand as was chosen after a conflict: %s", async (answer, standing) => {
    const one = server();
    const labels = await open(one);
    labels.edit([{ uuid: "a", after: at("first") }]);
    await later();
    one.labels.set("a", { ...(one.labels.get("a") as Label), version: 2, label: "theirs" });
    labels.edit([{ uuid: "a", after: at("mine") }]);
    labels.edit([{ uuid: "b", after: at("other") }]);
    await later();
    expect([labels.saving, labels.conflict?.mine.label, labels.conflict?.theirs.label]).toEqual(["conflict", "mine", "theirs"]);
    labels.resolve(answer);
    await later();
    expect([labels.saving, one.standing]).toEqual(["saved", [...standing, "other"].sort()]);
    expect([...labels.shapes.values()].map((shape) => shape.label).sort()).toEqual(one.standing);
  });

  it("are sent in letters that the server takes", async () => {
    const one = server();
    const labels = await open(one);
    const sizes: number[] = [];
    const { save } = one;
    const counted = await Labels.open(2, "other", [], async (task, changes) => {
      sizes.push(JSON.stringify(changes).length);
      return save(task, changes);
    });
    live.push(counted);
    const ring = Array.from({ length: 30_000 }, (_, number) => [number + 0.123, number + 0.456] as const);
    counted.edit(Array.from({ length: 4 }, (_, number) => ({ uuid: `${number}`, after: { label: "IDC", geometry: { type: "Polygon" as const, coordinates: [ring] } } })));
    await later();
    expect([labels.unsaved, counted.unsaved, counted.saving]).toEqual([0, 0, "saved"]);
    expect(sizes.length).toBeGreaterThan(1);
    expect(Math.max(...sizes)).toBeLessThan(1.9e6);
  });

  it("that are changed while they are sent are sent once more", async () => {
    const one = server();
    const labels = await open(one);
    labels.edit([{ uuid: "a", after: at("first") }]);
    const { save } = one;
    one.save = async (task, changes) => save(task, changes);
    await vi.advanceTimersByTimeAsync(399);
    const sent = vi.advanceTimersByTimeAsync(1);
    labels.edit([{ uuid: "a", after: at("second") }]);
    await sent;
    await later();
    expect([one.standing, labels.unsaved]).toEqual([["second"], 0]);
  });
});

describe("work that windows have left", () => {
  const waits = (uuid: string, label: string) => ({ uuid, version: 0, deleted: false, ...at(label) });

  it("comes together, the window's own last, with what can be undone", async () => {
    const { together } = await vi.importActual<typeof import("../src/labelling/local")>("../src/labelling/local");
    const step = [{ uuid: "a", before: null, after: at("IDC") }];
    const left = { waiting: [waits("a", "left"), waits("b", "left")], done: [step], undone: [] };
    const own = { waiting: [waits("b", "own")], done: [], undone: [] };
    const one = together([left], own);
    expect(one.waiting.map(({ uuid, label }) => [uuid, label])).toEqual([["a", "left"], ["b", "own"]]);
    expect(one.done).toEqual([step]);
    expect(together([left], { ...own, done: [step, step] }).done).toHaveLength(2);
  });
});
