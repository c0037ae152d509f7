// All avatars of the tenant.

import { fill, h, kept } from "../dom.js";
import { pause } from "../api.js";
import { ended } from "../events.js";
import { ago, left, percent } from "../format.js";
import { PRESETS } from "../words.js";
import { face } from "../parts/picture.js";
import { sentence } from "../parts/problem.js";
import { badge, empty, link, loaded, page } from "../parts/page.js";

const LOOK_MS = 3000;

export function avatarsPage({ api, signal }) {
  const create = () => link("New avatar", "#/avatars/new", { kind: "primary", icon: "plus" });
  const list = loaded("Loading avatars", () => api.all("avatars", { signal, most: 400 }), show, signal);
  return page({
    title: "Avatars", actions: [link("Consents", "#/consents"), create()],
    about: "Each is made of a few minutes of video of one person who agreed to it.",
  }, list);

  function show(avatars) {
    if (avatars.length === 0) {
      return empty({
        icon: "avatars", title: "No avatar yet",
        about: "Take two to five minutes of video of one person speaking to the camera, record that they agree, and upload it. The first avatar is ready some minutes later.",
        actions: [create()],
      });
    }
    const tiles = kept(tile);
    const grid = h("ul", { class: "grid" }, tiles(avatars));
    if (avatars.some((avatar) => !ended(avatar))) watch(grid, tiles);
    return grid;
  }

  // Asked every now and then: a browser keeps only a few event streams open at once.
  async function watch(grid, tiles) {
    for (;;) {
      await pause(LOOK_MS, signal).catch(() => {});
      if (signal.aborted) return;
      const avatars = await api.all("avatars", { signal, most: 400 }).catch(() => null);
      if (!avatars) continue;
      fill(grid, tiles(avatars));
      if (avatars.every(ended)) return;
    }
  }
}

function tile(avatar) {
  return h("li", { class: "card tile" },
    h("div", { class: "thumb" }, face(avatar)),
    h("div", { class: "tile-body" },
      h("h2", null, h("a", { href: `#/avatars/${avatar.id}`, id: `tile-${avatar.id}` }, avatar.name)),
      h("div", { class: "tile-line small" }, badge(avatar.state), h("span", { class: "faint" }, ago(avatar.created_at))),
      ended(avatar)
        ? h("p", { class: "small soft" }, avatar.state === "failed" && avatar.error ? sentence(avatar.error.message) : `${PRESETS[avatar.preset][0]}, ${avatar.size_px} × ${avatar.size_px}`)
        : h("div", { class: "progress small" },
          h("div", { class: "progress-line soft" }, left(avatar.eta_s), h("span", null, percent(avatar.fraction))),
          h("progress", { max: 1, value: avatar.fraction, "aria-label": `Progress of ${avatar.name}` }))));
}
