import { describe, expect, it } from "vitest";
import { unpack, unpackRaster } from "../src/cells";

function packed(cells: { x: number; y: number; kind: number; p: number; row: number }[]): ArrayBuffer {
  const size = cells.length;
  const data = new DataView(new ArrayBuffer(4 + 17 * size));
  data.setUint32(0, size, true);
  cells.forEach((cell, at) => {
    data.setFloat32(4 + 4 * at, cell.x, true);
    data.setFloat32(4 + 4 * size + 4 * at, cell.y, true);
    data.setUint8(4 + 8 * size + at, cell.kind);
    data.setFloat32(4 + 9 * size + 4 * at, cell.p, true);
    data.setUint32(4 + 13 * size + 4 * at, cell.row, true);
  });
  return data.buffer;
}

describe("cells from the server", () => {
  it("come out as they went in, though their number is odd", () => {
    const cells = unpack(
      packed([
        { x: 1.5, y: 2.5, kind: 2, p: 0.75, row: 7 },
        { x: 3.5, y: 4.5, kind: 129, p: 0.5, row: 4_000_000_000 },
        { x: 5.5, y: 6.5, kind: 64, p: 0.25, row: 9 },
      ]),
    );
    expect([...cells.x]).toEqual([1.5, 3.5, 5.5]);
    expect([...cells.label]).toEqual([2, 1, 0]);
    expect([...cells.counted]).toEqual([1, 0, 1]);
    expect([...cells.corrected]).toEqual([0, 0, 1]);
    expect([...cells.probability]).toEqual([0.75, 0.5, 0.25]);
    expect([...cells.row]).toEqual([7, 4_000_000_000, 9]);
  });

  it("are refused where the answer is cut short", () => {
    const whole = packed([{ x: 1, y: 2, kind: 2, p: 1, row: 0 }]);
    expect(() => unpack(whole.slice(0, 12))).toThrow(/1 promised/);
    expect(() => unpack(new ArrayBuffer(2))).toThrow(/cut short/);
  });
});

describe("the raster", () => {
  const head = new TextEncoder().encode('{"columns":2,"rows":1,"cell_um":32,"x_um":10,"y_um":20}\n');

  it("holds both planes, wherever its first line ends", () => {
    const data = new Uint8Array(head.length + 16);
    data.set(head);
    data.set(new Uint8Array(new Float32Array([1, 2, 3, 4]).buffer), head.length);
    const raster = unpackRaster(data.buffer);
    expect([...raster.positive]).toEqual([1, 2]);
    expect([...raster.negative]).toEqual([3, 4]);
    expect(raster.x0).toBe(10);
  });

  it("is refused where it is cut short", () => {
    expect(() => unpackRaster(head.slice().buffer)).toThrow(/promised/);
    expect(() => unpackRaster(new ArrayBuffer(3))).toThrow(/first line/);
  });
});
