// Where it begins: who is signed in, and which page the address names.

import { Api } from "./api.js";
import { fill, h, announce } from "./dom.js";
import { comeBack, provider } from "./oidc.js";
import { forgetKey, refused, saveKey, savedKey, whoIs } from "./session.js";
import { note } from "./parts/page.js";
import { problem } from "./parts/problem.js";
import { shell } from "./shell.js";
import { signIn } from "./pages/sign-in.js";
import { avatarsPage } from "./pages/avatars.js";
import { avatarPage } from "./pages/avatar.js";
import { newAvatarPage } from "./pages/new-avatar.js";
import { dubsPage } from "./pages/dubs.js";
import { dubPage } from "./pages/dub.js";
import { newDubPage } from "./pages/new-dub.js";
import { livePage } from "./pages/live.js";
import { consentsPage } from "./pages/consents.js";
import { consentPage } from "./pages/consent.js";
import { newConsentPage } from "./pages/new-consent.js";
import { receiptPage } from "./pages/receipt.js";
import { keysPage } from "./pages/keys.js";
import { systemPage } from "./pages/system.js";
import { verifyPage } from "./pages/verify.js";
import { webhooksPage } from "./pages/webhooks.js";

const ROUTES = [
  ["/avatars", "avatars", "Avatars", avatarsPage],
  ["/avatars/new", "avatars", "New avatar", newAvatarPage],
  ["/avatars/:id", "avatars", "Avatar", avatarPage],
  ["/consents", "avatars", "Consents", consentsPage],
  ["/consents/new", "avatars", "New consent", newConsentPage],
  ["/consents/:id", "avatars", "Consent", consentPage],
  ["/receipts/:id", "avatars", "Receipt", receiptPage],
  ["/dubs", "dubs", "Dubs", dubsPage],
  ["/dubs/new", "dubs", "New dub", newDubPage],
  ["/dubs/:id", "dubs", "Dub", dubPage],
  ["/live", "live", "Live", livePage],
  ["/verify", "verify", "Verify", verifyPage],
  ["/keys", "keys", "API keys", keysPage],
  ["/webhooks", "webhooks", "Webhooks", webhooksPage],
  ["/system", "system", "System", systemPage],
];
const HOMES = { operator: "/system", reviewer: "/consents" };
const OPERATORS = new Set(["keys", "system"]);

const app = document.getElementById("app");
let leaving = new AbortController();

start();

async function start() {
  let key = savedKey();
  try {
    const token = await comeBack();
    if (token) key = token;
  } catch (error) {
    showSignIn({ error });
    return;
  }
  if (!key) {
    showSignIn();
    return;
  }
  const api = new Api(key);
  try {
    const me = await whoIs(api);
    saveKey(key);
    enter(api, me, false);
  } catch (error) {
    if (error.status === 401 || error.code === "TOKEN_WITHOUT_TENANT") {
      forgetKey();
      showSignIn(error.status === 401 ? { said: refused(key) } : { error });
    } else {
      fill(app, h("main", { class: "signin" }, h("div", { class: "signin-box" }, problem(error, { onRetry: start }))));
    }
  }
}

async function showSignIn(why = {}) {
  leaving.abort();
  document.title = "Sign in · Studio";
  const oidc = await provider();
  fill(app, signIn({ ...why, oidc, onKey: async (key) => {
    const api = new Api(key);
    const me = await whoIs(api);
    saveKey(key);
    enter(api, me, true);
  } }));
}

function enter(api, me, moved) {
  api.onRefused = () => {
    forgetKey();
    showSignIn({ said: refused(api.key) });
  };
  const signOut = () => {
    window.removeEventListener("hashchange", route);
    forgetKey();
    location.hash = "";
    showSignIn({ said: "Signed out." });
  };
  const frame = shell(me, signOut);
  fill(app, frame.element);
  window.addEventListener("hashchange", route);
  route();

  function route() {
    if (!savedKey()) {
      window.removeEventListener("hashchange", route);
      return;
    }
    leaving.abort();
    leaving = new AbortController();
    const [path, query] = location.hash.slice(1).split("?");
    const home = HOMES[me.role] ?? "/avatars";
    const found = match(path && path !== "/" ? path : home);
    if (!found) {
      show("", "Not found", note("warn", h("h1", { tabIndex: -1 }, "There is no such page"), h("a", { href: `#${home}` }, "Go to the beginning")));
      return;
    }
    const [{ section, title, make }, params] = found;
    if (me.role === "operator" && !OPERATORS.has(section)) {
      show(section, title, note("info", h("h1", { tabIndex: -1 }, title),
        h("p", null, "The operator's key belongs to no tenant: it makes keys and looks after the system. Sign in with a tenant's key to work with avatars.")));
      return;
    }
    const context = { api, me, params, query: new URLSearchParams(query), signal: leaving.signal, go, retitle };
    show(section, title, make(context));
  }

  function show(section, title, element) {
    frame.show(section, location.hash.slice(1), element);
    retitle(title);
    announce(title);
    window.scrollTo(0, 0);
    // Readers go on at the new heading; a page that was just opened is read from its beginning.
    if (moved) (element.querySelector("h1") ?? document.getElementById("main")).focus({ preventScroll: true });
    moved = true;
  }
}

const go = (path) => { location.hash = path; };

function retitle(title) {
  document.title = `${title} · Studio`;
}

function match(path) {
  for (const [pattern, section, title, make] of ROUTES) {
    const names = pattern.split("/");
    const parts = path.split("/");
    if (names.length !== parts.length) continue;
    const params = {};
    const fits = names.every((name, at) => {
      if (name.startsWith(":")) params[name.slice(1)] = parts[at];
      return name.startsWith(":") || name === parts[at];
    });
    if (fits) return [{ section, title, make }, params];
  }
  return null;
}
