// Building elements. Text is always text; only markdown.js makes HTML, which it cleans.

export const $ = (id) => document.getElementById(id);

/** An element: attributes as they are, `on…` as listeners, children as nodes or text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** One of style.css, as uPlot asks for it each time it draws: it differs in the dark. */
export const colour = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name);

export const seconds = (value) =>
  value === null || value === undefined ? "–" : `${value < 10 ? value.toFixed(2) : value.toFixed(0)} s`;
