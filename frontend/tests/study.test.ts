import { describe, expect, it } from "vitest";
import { clock, wholePercent } from "../src/labelling/study";

describe("a clock that runs down", () => {
  it("shows a second that has begun, and never less than nothing", () => {
    expect([1800, 59.2, 0.1, 0, -5].map(clock)).toEqual(["30:00", "1:00", "0:01", "0:00", "0:00"]);
  });
});

describe("an answer", () => {
  it("is a whole percent from 0 to 100 and nothing else", () => {
    expect(["0", " 12 ", "100"].map(wholePercent)).toEqual([0, 12, 100]);
    expect(["", "101", "1.5", "-1", "1e2", "ten", "0x1"].map(wholePercent)).toEqual(Array(7).fill(null));
  });
});
