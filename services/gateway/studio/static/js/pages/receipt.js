// What an erasure has erased: every object and record, and what a look afterwards found.

import { h } from "../dom.js";
import { count, moment, size } from "../format.js";
import { button, card, facts, loaded, note, page } from "../parts/page.js";
import { save } from "../parts/save.js";

const KINDS = { avatars: "an avatar", dubs: "a dub", consents: "a consent" };

export function receiptPage({ api, params, signal, retitle }) {
  return h("div", null, loaded("Loading the receipt", () => api.get(`receipts/${params.id}`, { signal }), (receipt) => {
    retitle("Receipt");
    return show(receipt);
  }, signal));
}

function show(receipt) {
  const { objects, records, left, erased } = receipt;
  const remains = left.objects.length + left.records.length;
  return page({
    title: "Receipt of an erasure", back: ["#/consents", "Consents"],
    about: `Everything of ${KINDS[receipt.collection]} was listed, deleted, and looked for again.`,
    actions: [button("Save as JSON", { icon: "download", on: () => save(receipt, `receipt-${receipt.id}.json`) })],
  },
  remains === 0
    ? note("good", h("h3", { data: { left: "0" } }, "Nothing is left"), h("p", null, "Backups that were made before keep it until they are replaced; a restore erases it again."))
    : note("bad", h("h3", { data: { left: remains } }, `${count(remains, "thing")} left`), h("p", null, "The erasure did not do what it promises. It is repeated; tell whoever runs this installation if it stays so.")),
  card("What was erased", facts([
    ["Id", h("code", null, receipt.id)],
    ["Why", receipt.why === "request" ? "Somebody asked for it" : receipt.why],
    ["Done", moment(receipt.done_at)],
    ["Files", `${count(objects.length, "file")}, ${size(erased.bytes)}`],
    ["Records", String(records.length)],
    ["Copies on workers' disks", `Gone by ${moment(receipt.copies_gone_by)}`, { about: "A worker that is down removes them when it starts." }],
  ]),
  names("Files", objects.map(({ key, size_bytes: bytes }) => `${key}  ${size(bytes)}`)),
  names("Records of the database", records),
  remains > 0 && names("Left", [...left.objects.map(({ key }) => key), ...left.records], true)));
}

function names(title, lines, open = false) {
  if (lines.length === 0) return null;
  return h("details", { open }, h("summary", null, `${title} (${lines.length})`),
    h("pre", { class: "code snippet", tabIndex: 0 }, lines.join("\n")));
}
