// A client of /v1: every failure is an ApiError that says what happened and what to do about it.

export class ApiError extends Error {
  constructor({ status = 0, code, message, remedy = "", param = null, requestId = "", afterS = 0 }) {
    super(message);
    Object.assign(this, { status, code, remedy, param, requestId, afterS });
  }
}

const TRIES = 3;

export class Api {
  /**
   * @param {string} key an API key
   * @param {function(): void} [onRefused] called when the key is no longer taken
   */
  constructor(key, onRefused = () => {}) {
    this.key = key;
    this.onRefused = onRefused;
  }

  get(path, { query, signal } = {}) {
    return this.#insist("GET", path, { query, signal });
  }

  /** Creates carry an idempotency key, so a repetition creates nothing twice. */
  post(path, body = {}, { signal } = {}) {
    return this.#insist("POST", path, { body, signal });
  }

  delete(path, { query, signal } = {}) {
    return this.#insist("DELETE", path, { query, signal });
  }

  /** Everything of a collection, newest first, up to `most`. */
  async all(path, { query = {}, signal, most = 1000 } = {}) {
    const found = [];
    let token = "";
    do {
      const page = await this.get(path, { query: { limit: 200, ...query, ...(token && { token }) }, signal });
      found.push(...page.data);
      token = page.next_token;
    } while (token && found.length < most);
    return found;
  }

  /** The answer as it comes; raises for errors. */
  async fetch(method, path, { query, body, signal, headers = {} } = {}) {
    const given = new URLSearchParams(Object.entries(query ?? {}).filter(([, value]) => value !== ""));
    const url = `/v1/${path}${given.size ? `?${given}` : ""}`;
    let answer;
    try {
      answer = await fetch(url, {
        method,
        signal,
        headers: {
          authorization: `Bearer ${this.key}`,
          ...(body && { "content-type": "application/json" }),
          ...headers,
        },
        body: body && JSON.stringify(body),
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw unreachable();
    }
    if (!answer.ok) throw await this.#refusal(answer);
    return answer;
  }

  async #insist(method, path, options) {
    const headers = method === "POST" ? { "idempotency-key": crypto.randomUUID() } : {};
    for (let attempt = 1; ; attempt += 1) {
      try {
        const answer = await this.fetch(method, path, { ...options, headers });
        return answer.status === 204 ? null : await answer.json();
      } catch (error) {
        const passing = error.status === 503 || error.status === 429 || error.code === "UNREACHABLE";
        if (!passing || attempt === TRIES || error.afterS > 5) throw error;
        await pause((error.afterS || attempt * 0.5) * 1000, options.signal);
      }
    }
  }

  async #refusal(answer) {
    let said = {};
    try {
      said = (await answer.json()).error ?? {};
    } catch {
      // not from the gateway itself, e.g. from a proxy before it
    }
    const error = new ApiError({
      status: answer.status,
      code: said.code ?? `HTTP_${answer.status}`,
      message: said.message ?? `The server answered ${answer.status}.`,
      remedy: said.remedy ?? "Try again; look at the gateway's log if it stays so.",
      param: said.param,
      requestId: said.request_id ?? "",
      afterS: Number(answer.headers.get("retry-after") ?? 0),
    });
    if (error.status === 401) this.onRefused();
    return error;
  }
}

/** What to say when nobody answers at all. */
export function unreachable() {
  return new ApiError({
    code: "UNREACHABLE",
    message: "The suite does not answer.",
    remedy: "Check your connection, and that it runs: avatar status.",
  });
}

/** Wait; an aborted wait raises. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    }, { once: true });
  });
}
