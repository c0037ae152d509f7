// Erasing, with a clear word on what goes.

import { announce, h } from "../dom.js";
import { count, size } from "../format.js";
import { confirm } from "./dialog.js";
import { check } from "./fields.js";

/** Ask, then erase an avatar, with its dubs and its consent if wanted. */
export async function eraseAvatar({ api, go }, avatar) {
  const consent = await api.get(`consents/${avatar.consent}`).catch(() => null);
  const dubs = (await api.all("dubs").catch(() => [])).filter((dub) => dub.avatar === avatar.id);
  const done = await confirm({
    title: `Delete ${avatar.name}?`,
    action: "Delete for good",
    body: [
      h("p", null, "The uploaded video, all pictures, the training data and every version of this avatar are erased at once. This cannot be undone."),
      dubs.length > 0 && check(`Also erase ${count(dubs.length, "dub")} made with it`, { name: "dubs" }),
      consent?.state === "active" && check(`Also revoke the consent of ${consent.subject_name}; no new avatar can then be made under it`, { name: "revoke" }),
    ],
    work: async (given) => {
      if (given.has("revoke")) await api.post(`consents/${avatar.consent}/revoke`);
      await eraseWholly(api, `avatars/${avatar.id}`, { dubs: given.has("dubs") });
    },
  });
  if (done) go("/avatars");
}

/** Ask, then erase a dub. */
export async function eraseDub({ api, go }, dub) {
  const done = await confirm({
    title: "Delete this dub?", action: "Delete for good",
    body: [h("p", null, "The video, its captions and the uploaded audio are erased, unless another dub uses them. The avatar stays.")],
    work: () => eraseWholly(api, `dubs/${dub.id}`),
  });
  if (done) go("/dubs");
}

async function eraseWholly(api, path, query) {
  let said;
  do said = await api.delete(path, { query }); while (said.state === "erasing");
  announce(`Erased: ${count(said.erased.objects, "file")}, ${size(said.erased.bytes)}.`);
}
