// Signing in at the installation's identity provider: the authorization code flow with PKCE
// (RFC 7636), by which a page without a secret proves that it is the one that asked.

import { ApiError } from "./api.js";

const PENDING = "studio.signing-in";

/** Where people sign in, as the gateway says; null: with API keys only. */
export async function provider() {
  const answer = await fetch("sign-in.json").catch(() => null);
  return answer?.ok ? (await answer.json()).oidc : null;
}

/** Go there; it sends the browser back to this page. */
export async function leaveTo(oidc) {
  const pending = { state: random(), nonce: random(), verifier: random(), hash: location.hash };
  sessionStorage.setItem(PENDING, JSON.stringify(pending));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(pending.verifier));
  const url = new URL(oidc.authorization_url);
  for (const [name, value] of Object.entries({
    response_type: "code", client_id: oidc.client_id, redirect_uri: here(), scope: oidc.scope,
    audience: oidc.audience, state: pending.state, nonce: pending.nonce,
    code_challenge: base64url(new Uint8Array(digest)), code_challenge_method: "S256",
  })) url.searchParams.set(name, value);
  location.assign(url);
}

/**
 * The token of somebody who comes back from there; empty when nobody does. The address is then as
 * it was before.
 */
export async function comeBack() {
  const said = new URLSearchParams(location.search);
  const pending = JSON.parse(sessionStorage.getItem(PENDING) ?? "null");
  if (!said.has("state") || !(said.has("code") || said.has("error"))) return "";
  sessionStorage.removeItem(PENDING);
  history.replaceState(null, "", `${location.pathname}${pending?.hash ?? ""}`);
  if (!pending || said.get("state") !== pending.state) {
    throw failed("The answer of the identity provider is not to a question of this tab.");
  }
  if (said.has("error")) throw failed(said.get("error_description") || said.get("error"));
  return exchange(await provider(), said.get("code"), pending);
}

async function exchange(oidc, code, { verifier, nonce }) {
  const answer = await fetch(oidc.token_url, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code", code, redirect_uri: here(), client_id: oidc.client_id, code_verifier: verifier,
    }),
  }).catch(() => null);
  const given = await answer?.json().catch(() => null);
  if (!answer?.ok || !given) {
    throw failed(given?.error_description || given?.error || "The identity provider gives no token to this page.");
  }
  const claims = claimsOf(given.id_token);
  if (claims && claims.nonce !== nonce) throw failed("The token is not the answer to this sign-in.");
  // Providers differ in which of the two is made out to the audience that the gateway asks for.
  const mine = [claims?.aud].flat().includes(oidc.audience);
  const token = mine ? given.id_token : given.access_token;
  if (!token) throw failed("The identity provider gives no token for this installation.");
  return token;
}

/** What a token says; whether it is true is for the gateway to find out. */
function claimsOf(token) {
  try {
    const text = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  } catch {
    return null;
  }
}

const here = () => `${location.origin}${location.pathname}`;

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const failed = (message) => new ApiError({
  code: "SIGN_IN_FAILED", message, remedy: "Sign in again; if it stays so, tell whoever runs this installation.",
});
