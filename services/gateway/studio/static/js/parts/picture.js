// Pictures of avatars. What training shows is drawn by the trainer: the rendered frame at the left,
// the filmed one at the right, and a plot of 160 pixels below, which is drawn better here.

import { h } from "../dom.js";
import { icon } from "./icons.js";

const PLOT_PX = 160;

/** Whether the avatar's picture is one of training; before, it is that of the quality report. */
export const trained = ({ jobs, preview_url: url, quality_picture_url: quality }) => Boolean(url) && jobs.length > 1 && url !== quality;

/** The face alone, to fill a place with. */
export function face(avatar) {
  if (!trained(avatar)) return icon("avatars");
  const image = h("img", { class: "half", src: avatar.preview_url, alt: "" });
  image.style.visibility = "hidden"; // until it is cut
  image.addEventListener("load", () => {
    crop(image);
    image.style.visibility = "";
  });
  return image;
}

// The left half fills its place, which may be of any shape; a face is a little above the middle.
function crop(image) {
  const place = image.parentElement;
  if (!place?.clientWidth) return;
  const wanted = place.clientHeight / place.clientWidth;
  const given = (2 * (image.naturalHeight - PLOT_PX)) / image.naturalWidth;
  if (given > wanted) {
    image.style.marginTop = `${(wanted - given) * 42}%`;
  } else {
    image.style.width = `${(200 * wanted) / given}%`;
    image.style.marginLeft = `${50 * (1 - wanted / given)}%`;
  }
}

/** Rendered and filmed side by side, without the plot. */
export function pair(url) {
  const image = h("img", { class: "pair-picture", src: url, alt: "A frame that training does not see: rendered at the left, filmed at the right" });
  image.addEventListener("load", () => {
    image.style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight - PLOT_PX}`;
  });
  return image;
}
