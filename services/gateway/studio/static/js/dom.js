// Elements from data. Text is always a text node: there is no way to put markup in.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element.
 * @param {string} tag
 * @param {object} [props] `on` holds listeners by event, `class` classes, `data` data attributes;
 *   a property of the element is set as one, anything else as an attribute; null and false: left out
 * @param {...(Node|string|number|null|false|Array)} children
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(element, name, value);
  append(element, children);
  return element;
}

/** An SVG element; `props` are its attributes. */
export function s(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  append(element, children);
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "on") {
    for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
  } else if (name === "data") {
    Object.assign(element.dataset, value);
  } else if (name === "class") {
    element.className = value;
  } else if (name in element && !name.startsWith("aria") && name !== "list" && name !== "form") {
    element[name] = value;
  } else {
    element.setAttribute(name, value === true ? "" : value);
  }
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Replace what an element holds, keeping the focus on what has the same id. */
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  element.replaceChildren();
  append(element, children);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

/**
 * A place whose content is made anew only when what it shows changes.
 * @param {function(any): any} pick what of the data it shows
 * @param {function(any): any} render the content
 */
export function slot(pick, render) {
  const host = h("div", { class: "slot" });
  let seen;
  host.update = (data) => {
    const now = JSON.stringify(pick(data));
    if (now === seen) return;
    seen = now;
    fill(host, render(data));
  };
  return host;
}

/** Elements of items; those of items that have not changed stay the same, so nothing flickers. */
export function kept(make) {
  let before = new Map();
  return (items) => {
    const now = new Map(items.map((item) => {
      const key = JSON.stringify(item);
      return [key, before.get(key) ?? make(item)];
    }));
    before = now;
    return [...now.values()];
  };
}

let ids = 0;

/** An id that nothing else has. */
export function freshId(prefix) {
  ids += 1;
  return `${prefix}-${ids}`;
}

/** Say something to screen readers. */
export function announce(text) {
  const said = document.getElementById("said");
  if (said.textContent !== text) said.textContent = text;
}
