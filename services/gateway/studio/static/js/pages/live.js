import { note, page } from "../parts/page.js";

export function livePage() {
  return page({ title: "Live" }, note("info", "Being built."));
}
