// Runs the script of labels.html on the few parts of a document that it uses, and prints the document:
// `node document.js PAGE [FRAGMENT]`. Pictures have no pixels; sizes are made up.
"use strict";

const fs = require("fs");
const [, , path, fragment = ""] = process.argv;
const page = fs.readFileSync(path, "utf8");
const [, data, script] = page.match(/id="data">([\s\S]*?)<\/script>\s*<script>([\s\S]*?)<\/script>/);
const byId = {};
const escaped = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

class Element {
  constructor(tag) {
    Object.assign(this, { tag, attributes: {}, children: [], dataset: {}, style: {}, listeners: {}, width: 40, height: 30 });
    const classes = () => new Set((this.attributes.class ?? "").split(" ").filter(Boolean));
    this.classList = { toggle: (name, on) => { const set = classes(); on ? set.add(name) : set.delete(name); this.attributes.class = [...set].join(" "); } };
  }
  setAttribute(name, value) {
    this.attributes[name] = String(value);
    if (name === "id") byId[value] = this;
  }
  append(...items) {
    for (const item of items) {
      if (item instanceof Element) { item.remove(); item.parent = this; }
      this.children.push(item);
    }
  }
  remove() { if (this.parent) this.parent.children = this.parent.children.filter((child) => child !== this); }
  replaceChildren(...items) { this.children = []; this.append(...items); }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  set textContent(text) { this.children = [String(text)]; }
  set src(uri) { setTimeout(() => (uri.startsWith("data:image/") ? this.onload() : this.onerror()), 0); }
  getContext() {
    const nothing = () => {};
    const pixels = (width, height) => ({ data: new Uint8ClampedArray(4 * width * height) });
    return {
      canvas: this, drawImage: nothing, fillRect: nothing, fillText: nothing, strokeRect: nothing, setLineDash: nothing,
      putImageData: nothing, createImageData: pixels, getImageData: (x, y, width, height) => pixels(width, height),
      measureText: (text) => ({ width: 6 * text.length }),
    };
  }
  toString() {
    const data = Object.entries(this.dataset).map(([name, value]) => [`data-${name}`, value]);
    const attributes = [...Object.entries(this.attributes), ...data].map(([name, value]) => ` ${name}="${escaped(value)}"`);
    const inside = this.children.map((child) => (child instanceof Element ? String(child) : escaped(child)));
    return `<${this.tag}${attributes.join("")}>${inside.join("")}</${this.tag}>`;
  }
}

const body = new Element("body");
for (const name of ["sliders", "order", "large", "heads", "pairs", "disagreement", "images"]) {
  const made = new Element("div");
  made.setAttribute("id", name);
  body.append(made);
}
byId.data = { textContent: data };
const document = {
  body, getElementById: (name) => byId[name],
  createElement: (tag) => new Element(tag), createElementNS: (space, tag) => new Element(tag),
};
const location = { hash: fragment, pathname: path };
const Image = class extends Element { constructor() { super("img"); } };
new Function("document", "location", "history", "Image", "addEventListener", script)(
  document, location, { replaceState: () => {} }, Image, () => {},
);
process.on("exit", () => {
  if (body.dataset.ready !== "yes") throw new Error("the page never became ready");
  console.log(String(body));
});
