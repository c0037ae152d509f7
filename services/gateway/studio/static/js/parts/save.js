// Data as a file of whoever looks at it.

import { h } from "../dom.js";

/** Have the browser save something as JSON. */
export function save(data, name) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(data, null, 2)], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}
