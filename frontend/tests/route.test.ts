import { describe, expect, it } from "vitest";
import { address, parse, read, write } from "../src/route";

describe("an address", () => {
  it("comes back as it was, whatever the case is called", () => {
    const route = parse(address("2024~A & B/ü?#", "gallery", new URLSearchParams({ label: "positive" })));
    expect(route.caseId).toBe("2024~A & B/ü?#");
    expect(route.page).toBe("gallery");
    expect(route.query.get("label")).toBe("positive");
  });

  it("is the list where it names no case, and the view where the page is unknown", () => {
    expect(parse("").caseId).toBeNull();
    expect(parse("#/elsewhere").caseId).toBeNull();
    expect(parse("#/case/a/elsewhere").page).toBe("view");
    expect(parse("#/case/%E0%A4%A/view").caseId).toBe("%E0%A4%A");
  });
});

describe("a view in an address", () => {
  it("comes back exactly enough", () => {
    const view = { x: 1234.56, y: 789.01, umPerPx: 0.251234, deg: 359.5, flip: true };
    const back = read(write({ view, mode: "over", opacity: 0.4, curtain: 0.25 }));
    expect(back).toEqual({ view, mode: "over", opacity: 0.4, curtain: 0.25 });
  });

  it("is none where it is damaged", () => {
    for (const query of ["", "x=1&y=2", "x=1&y=2&s=0", "x=a&y=2&s=1", "x=1&y=&s=1", "x=Infinity&y=1&s=1"])
      expect(read(new URLSearchParams(query)).view).toBeNull();
    expect(read(new URLSearchParams("m=upside&o=7&c=-1"))).toEqual({ view: null, mode: null, opacity: 1, curtain: 0 });
  });
});
