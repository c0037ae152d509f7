// A file straight to the object store, by a URL that the gateway signs for exactly this file.

import { ApiError } from "./api.js";

const TYPES = {
  video: /^video\/[\w.+-]+$/,
  audio: /^(audio|video)\/[\w.+-]+$/,
  image: /^image\/(png|jpeg|webp)$/,
  document: /^(application\/pdf|image\/(png|jpeg|webp))$/,
};

/**
 * Announce and send a file.
 * @param {Api} api
 * @param {File} file
 * @param {"video"|"audio"|"image"|"document"} kind
 * @param {object} options
 * @param {AbortSignal} [options.signal] stops it
 * @param {function(number, number): void} [options.onProgress] told of bytes sent, and of all
 * @returns {Promise<string>} id of the upload
 */
export async function upload(api, file, kind, { signal, onProgress = () => {} } = {}) {
  const type = TYPES[kind].test(file.type) ? file.type : "application/octet-stream";
  const body = { filename: file.name || kind, content_type: type, size_bytes: file.size, kind };
  const ticket = await api.post("uploads", body, { signal });
  await put(ticket, type === file.type ? file : file.slice(0, file.size, type), signal, onProgress);
  return ticket.id;
}

// XMLHttpRequest: fetch tells nothing of how far an upload is.
function put(ticket, blob, signal, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(ticket.method, ticket.url);
    for (const [name, value] of Object.entries(ticket.headers)) {
      if (name.toLowerCase() !== "content-length") request.setRequestHeader(name, value); // its own
    }
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total || blob.size);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve();
      else reject(refused(request.status));
    };
    request.onerror = () => reject(new ApiError({
      code: "UPLOAD_BROKEN",
      message: "The connection to the object store broke, or it does not take files from this page.",
      remedy: "Try again. If it never works, let the store take requests of this page's origin (CORS).",
    }));
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(blob);
  });
}

function refused(status) {
  return new ApiError({
    status,
    code: "UPLOAD_REFUSED",
    message: `The object store refused the file (${status}).`,
    remedy: "Choose the file again: its URL may have expired, or the file changed meanwhile.",
  });
}
