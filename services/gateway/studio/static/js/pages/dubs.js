// All dubs of the tenant.

import { fill, h, kept } from "../dom.js";
import { pause } from "../api.js";
import { ended } from "../events.js";
import { ago, left, length, percent } from "../format.js";
import { icon } from "../parts/icons.js";
import { badge, empty, link, loaded, page } from "../parts/page.js";
import { sentence } from "../parts/problem.js";

const LOOK_MS = 3000;

export function dubsPage({ api, signal }) {
  const create = () => link("New dub", "#/dubs/new", { kind: "primary", icon: "plus" });
  const load = () => Promise.all([api.all("dubs", { signal, most: 200 }), api.all("avatars", { signal, most: 400 })]);
  return page({
    title: "Dubs", actions: [create()], about: "An avatar says an audio; the result is a video to download.",
  }, loaded("Loading dubs", load, show, signal));

  function show([dubs, avatars]) {
    if (dubs.length === 0) {
      const ready = avatars.some(({ state }) => state === "ready");
      return empty({
        icon: "dubs", title: "No dub yet",
        about: ready ? "Drop any speech and choose who says it." : "A dub needs an avatar that is ready. Make one first.",
        actions: [ready ? create() : link("New avatar", "#/avatars/new", { kind: "primary", icon: "plus" })],
      });
    }
    const named = new Map(avatars.map((avatar) => [avatar.id, avatar]));
    const tiles = kept((dub) => tile(dub, named.get(dub.avatar)?.name ?? "An erased avatar"));
    const grid = h("ul", { class: "grid" }, tiles(dubs));
    if (dubs.some((dub) => !ended(dub))) watch(grid, tiles);
    return grid;
  }

  async function watch(grid, tiles) {
    for (;;) {
      await pause(LOOK_MS, signal).catch(() => {});
      if (signal.aborted) return;
      const dubs = await api.all("dubs", { signal, most: 200 }).catch(() => null);
      if (!dubs) continue;
      fill(grid, tiles(dubs));
      if (dubs.every(ended)) return;
    }
  }
}

/** Dubs as tiles; `nameOf` says what each is called. */
export const dubList = (dubs, nameOf) => h("ul", { class: "grid" }, dubs.map((dub) => tile(dub, nameOf(dub))));

function tile(dub, name) {
  return h("li", { class: "card tile" },
    h("div", { class: "thumb" }, dub.preview_url ? h("img", { src: dub.preview_url, alt: "", loading: "lazy" }) : icon("dubs")),
    h("div", { class: "tile-body" },
      h("h2", null, h("a", { href: `#/dubs/${dub.id}`, id: `tile-${dub.id}` }, name)),
      h("div", { class: "tile-line small" }, badge(dub.state), h("span", { class: "faint" }, ago(dub.created_at))),
      ended(dub)
        ? h("p", { class: "small soft figures" }, dub.state === "failed" && dub.error ? sentence(dub.error.message) : dub.duration_s ? `${length(dub.duration_s)}, ${dub.format.toUpperCase()}` : dub.format.toUpperCase())
        : h("div", { class: "progress small" },
          h("div", { class: "progress-line soft" }, dub.state === "queued" ? "Waiting for a free worker" : left(dub.eta_s), h("span", null, percent(dub.fraction))),
          h("progress", { max: 1, value: dub.fraction, "aria-label": `Progress of the dub of ${name}` }))));
}
