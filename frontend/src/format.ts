/** How numbers and times are written. */

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0, useGrouping: true });

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : WHOLE.format(value).replaceAll(",", "\u202f");
}

export function percent(value: number | null | undefined, digits = 1): string {
  return value === null || value === undefined ? "–" : `${value.toFixed(digits)}\u202f%`;
}

export function interval(range: readonly [number, number] | null | undefined): string {
  return range ? `${range[0].toFixed(1)}–${range[1].toFixed(1)}\u202f%` : "no interval";
}

export function points(value: number): string {
  const sign = value > 0 ? "+" : value < 0 ? "−" : "±";
  return `${sign}${Math.abs(value).toFixed(1)}`;
}

export function when(iso: string | null | undefined): string {
  if (!iso) return "–";
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  return date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return "";
  const whole = Math.round(value);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

export function size(bytes: number | undefined): string {
  if (bytes === undefined) return "";
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

/** The index of counts, null where nothing was counted. */
export function indexOf(positive: number, negative: number): number | null {
  return positive + negative ? (100 * positive) / (positive + negative) : null;
}
