// An answer's Markdown as HTML that can do nothing: no scripts, styles, forms, or images of others.

import DOMPurify from "/playground/vendor/purify.js";
import {marked} from "/playground/vendor/marked.js";

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  }
});

export function render(text) {
  return DOMPurify.sanitize(marked.parse(text, {breaks: true, async: false}), {
    FORBID_TAGS: ["img", "style", "form", "input", "button", "textarea", "select", "svg", "math", "audio", "video"],
    FORBID_ATTR: ["style", "class", "id", "name"],
    RETURN_DOM_FRAGMENT: true,
  });
}
