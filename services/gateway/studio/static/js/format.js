// Numbers and times as people read them.

/** 0.42 as "42 %". */
export const percent = (fraction) => `${Math.floor(100 * fraction)} %`;

/** Bytes as "12.3 MB". */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 99.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Seconds as "3:05" or "1:02:03". */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A recording's length: "12.4 s", "2:05 min". */
export const length = (seconds) => (seconds < 60 ? `${Number(seconds.toFixed(1))} s` : `${clock(seconds)} min`);

/** An estimate in words: "about 4 min left". */
export function left(etaS) {
  if (etaS === null || etaS === undefined) return "Estimating the time left";
  if (etaS < 45) return "Less than a minute left";
  if (etaS < 5400) return `About ${Math.round(etaS / 60)} min left`;
  return `About ${(etaS / 3600).toFixed(1)} h left`;
}

/** A duration in words: "45 s", "12 min", "3 h". */
export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** A time of the API as "3 min ago", and exactly for who looks closer. */
export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (seconds < 10) return "just now";
  if (seconds < 30 * 86_400) return `${span(seconds)} ago`;
  return day(iso);
}

/** A time of the API in full. */
export const moment = (iso) => new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A day of the API. */
export const day = (iso) => new Date(iso).toLocaleDateString(undefined, { dateStyle: "medium" });

/** A count and its noun: "1 dub", "3 dubs". */
export const count = (number, noun, many = `${noun}s`) => `${number} ${number === 1 ? noun : many}`;

/** "speech_snr" as "Speech snr". */
export function plain(name) {
  const text = name.replaceAll("_", " ").trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}
