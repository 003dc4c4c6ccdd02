// The page around the panels: sliders, counts, lists, order, address.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const byId = (id) => document.getElementById(id);

function makeSlider(head) {
  const id = `threshold-${head.name}`;
  const slider = element("input", { type: "range", id, min: head.floor, max: 1, step: "any" });
  const shown = element("output", { for: id });
  const back = element("button", { type: "button", title: "as in the recipe", "aria-label": `${head.name} as in the recipe` }, "reset");
  slider.addEventListener("input", () => move(head, Number(slider.value)));
  back.addEventListener("click", () => move(head, null));
  head.controls = { slider, shown, back };
  byId("sliders").append(element("div", { class: "slider" }, element("label", { for: id }, head.name), slider, shown, back));
}

function makeCard(head) {
  const bins = histogram(head.sample);
  const card = element("section", { class: "card", id: `head-${head.name}` }, element("h3", {}, head.name));
  card.append(element("p", { class: "soft" }, [`teacher ${head.teacher}`, head.kind, head.unit].filter(Boolean).join(", ")));
  head.untaught.forEach((sentence) => card.append(element("p", {}, sentence)));
  head.facts = element("dl", { "aria-live": "polite" });
  head.table = element("table");
  if (bins) card.append(makeHistogram(head, bins), head.facts, head.table);
  else card.append(element("p", {}, "No scores: all labels are used, and they do not count in the order by certainty."));
  byId("heads").append(card);
}

function makeHistogram(head, bins) {
  const name = "http://www.w3.org/2000/svg", most = Math.sqrt(Math.max(...bins)) || 1;
  const svg = document.createElementNS(name, "svg");
  svg.setAttribute("viewBox", "0 0 400 110");
  svg.setAttribute("role", "img");
  const what = head.sample.pixels ? "confidence of pixels" : head.sample.regions ? "scores of boxes" : "probability of the top class";
  svg.setAttribute("aria-label", `histogram: ${what}`);
  const add = (tag, attributes) => {
    const made = document.createElementNS(name, tag);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    svg.append(made);
    return made;
  };
  head.bars = bins.map((value, i) => {
    const height = 90 * (Math.sqrt(value) / most);
    return add("rect", { x: 10 * i + 1, y: 90 - height, width: 8, height });
  });
  add("line", { x1: 0, x2: 400, y1: 90.5, y2: 90.5, class: "axis" });
  [0, 0.25, 0.5, 0.75, 1].forEach((x) => {
    const anchor = x === 0 ? "start" : x === 1 ? "end" : "middle";
    add("text", { x: 400 * x, y: 106, "text-anchor": anchor }).textContent = x;
  });
  if (head.takesThreshold) head.mark = add("line", { y1: 0, y2: 90, class: "mark" });
  return element("figure", {}, svg, element("figcaption", {}, `${what}; heights are square roots of counts`));
}

function showHead(head) {
  const { counts, unit, facts } = count(head);
  // No score reaches the threshold of a class that is dropped.
  const limits = head.takesThreshold ? head.classes.map((_, k) => limit(head, k)) : [];
  const kept = limits.filter((value) => value <= 1);
  const low = head.takesThreshold ? Math.min(1, ...kept) : 0;
  if (head.takesThreshold) {
    const { slider, shown, back } = head.controls;
    const [least, most] = [low, Math.max(low, ...kept)].map((value) => Number(value.toFixed(3)));
    const dropped = limits.length - kept.length;
    slider.value = low;
    shown.textContent = (kept.length === 0 ? "" : least === most ? `${least}` : `${least} to ${most} by class`)
      + (dropped ? `${kept.length ? ", " : ""}${dropped} dropped` : "");
    back.style.visibility = head.moved === null ? "hidden" : "visible";
    ["x1", "x2"].forEach((x) => head.mark.setAttribute(x, 400 * low));
  }
  head.bars?.forEach((bar, i) => bar.classList.toggle("below", (i + 1) / BINS <= low));
  head.facts.replaceChildren(...facts.flatMap(([name, value, key]) => {
    const definition = element("dd", {}, String(value));
    if (key) definition.dataset.fact = key;
    return [element("dt", {}, name), definition];
  }));
  const isDrawn = head.sample.regions || head.sample.pixels;
  const swatch = (k) => (isDrawn ? [element("i", { class: "swatch", style: `background:${head.colors[k]}` })] : []);
  const order = counts.map((_, k) => k).sort((a, b) => counts[b] - counts[a]);
  const most = Math.max(...counts, 1e-9), rest = order.length - CLASSES;
  head.table.replaceChildren(
    element("caption", {}, `classes, ${unit}`),
    ...order.slice(0, CLASSES).map((k) => element("tr", {},
      element("th", { scope: "row" }, ...swatch(k), head.classes[k]),
      element("td", { class: "bar", style: `--share:${counts[k] / most}` }, limits[k] > 1 ? "dropped" : head.sample.pixels ? percent(counts[k]) : String(counts[k])))),
  );
  if (rest > 0) head.table.append(element("tr", {}, element("td", { colspan: 2 }, `and ${rest} more`)));
}

const QUESTIONS = {
  class: (a, b) => `${a}: boxes whose pixels have another class in ${b}`,
  edge: (a, b) => `${a}: boxes without a depth edge in ${b}`,
};

function showPairs() {
  byId("pairs").replaceChildren(...pairs.map((pair) => {
    const objects = heads[pair.objects], judge = heads[pair.judge];
    const [unjudged, right, wrong] = judged(pair), all = unjudged + right + wrong;
    const counts = right + wrong
      ? `${wrong} of ${right + wrong} judged boxes (${percent(wrong / (right + wrong))})`
      : `none of ${all} boxes is judged`;
    const item = element("li", { "data-pair": `${objects.name} ${judge.name}`, "data-disputed": wrong, "data-judged": right + wrong });
    item.append(element("b", {}, QUESTIONS[pair.question](objects.name, judge.name)), `: ${counts}`, right + wrong && unjudged ? `, ${unjudged} not judged. ` : ". ", unjudgedClasses(pair));
    item.append(imageLinks(pair));
    return item;
  }));
}

function unjudgedClasses({ unjudged, objects, judge }) {
  if (!unjudged.length) return "";
  if (unjudged.length === heads[objects].classes.length) return "The two heads have no class name in common.";
  const rest = unjudged.length - CLASSES;
  return `Never judged, because ${heads[judge].name} has no class of this name: ${unjudged.slice(0, CLASSES).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}.`;
}

/** Return links to the images on the page with boxes that a pair disputes. */
function imageLinks(pair) {
  const found = images.map((image) => [image, disputed(image, pair).length]).filter(([, number]) => number);
  if (!found.length) return "";
  const list = element("details", { class: "links", open: pair.isOpen ? "" : null },
    element("summary", {}, `${found.length} image${found.length > 1 ? "s" : ""} on this page`),
    ...found.map(([image, number]) => {
      const link = element("button", { type: "button" }, `${image.name} (${number})`);
      link.addEventListener("click", () => { image.figure.scrollIntoView(); image.figure.focus(); });
      return link;
    }));
  list.addEventListener("toggle", () => { pair.isOpen = list.open; });
  return list;
}

function makeFigure(image) {
  const [height, width] = image.size, scale = 448 / Math.max(height, width);
  const size = { width: Math.round(scale * width), height: Math.round(scale * height) };
  image.certainty = element("span");
  image.doubt = element("span", { class: "doubt" });
  const row = element("div", { class: "panels" });
  const add = (name, note = "") => {
    const canvas = element("canvas", { ...size, role: "img" });
    const caption = element("small", {}, note);
    row.append(element("div", { class: "panel" }, element("b", {}, name), canvas, caption));
    return { canvas, note: caption };
  };
  const { canvas } = add("image");
  canvas.setAttribute("aria-label", image.name);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(image.photo, 0, 0, canvas.width, canvas.height);
  image.panels.forEach((panel, place) => {
    const head = heads[place];
    if (!panel) row.append(element("div", { class: "panel" }, element("b", {}, head.name), element("p", { class: "soft" }, "no label")));
    else if (panel.answers) row.append(makeAnswers(head, panel));
    else Object.assign(panel, add(head.name, ""));
    if (panel?.canvas) panel.canvas.dataset.head = head.name;
  });
  image.figure = element("figure", { class: "image", tabindex: -1 }, element("figcaption", {}, element("b", {}, image.name), " ", image.certainty, " ", image.doubt), row);
}

function makeAnswers(head, panel) {
  const rows = panel.answers.map(([k, p]) => element("tr", {}, element("th", { scope: "row" }, className(head, k)), element("td", { class: "bar", style: `--share:${p}` }, p.toFixed(2))));
  return element("div", { class: "panel" }, element("b", {}, head.name), element("table", { class: "answers" }, ...rows));
}

// ---- orders -----------------------------------------------------------------------------------

const ORDER = "page.order"; // No head has a name with a dot.
const last = (value) => value ?? 2; // An image without a label comes last.
const orders = new Map([["all", { title: "least certain over all heads", key: (image) => last(image.rank) }]]);
heads.forEach((head, place) => {
  if (images.some((image) => image.panels[place]?.certainty != null)) {
    orders.set(`certainty.${head.name}`, { title: `least certain of ${head.name}`, key: (image) => last(image.panels[place]?.certainty) });
  }
});
if (pairs.length) orders.set("disagreement", { title: "most boxes in question", key: (image) => -disputedBoxes(image) });

function disputedBoxes(image) {
  return new Set(disputed(image).map(({ pair, region }) => `${pair.objects} ${region.place}`)).size;
}

function showOrder() {
  const { key } = orders.get(byId("order").value);
  const sorted = images.map((image, i) => [key(image), i]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  byId("images").append(...sorted.map(([, i]) => images[i].figure));
}

function showMarks() {
  for (const image of images) {
    const number = disputedBoxes(image);
    image.figure.classList.toggle("disputed", number > 0);
    image.certainty.textContent = image.rank === null ? "" : `certainty ${image.rank.toFixed(2)}`;
    image.doubt.textContent = number ? `· ${number} box${number > 1 ? "es" : ""} in question` : "";
  }
}

// ---- state: the sliders and the order, kept in the address ------------------------------------

function move(head, value) {
  head.moved = value;
  refresh(head);
  writeAddress();
}

function writeAddress() {
  const state = new URLSearchParams();
  heads.forEach((h) => { if (h.moved !== null) state.set(h.name, Number(h.moved.toFixed(4))); });
  if (byId("order").value !== "all") state.set(ORDER, byId("order").value);
  history.replaceState(null, "", `${state}` ? `#${state}` : location.pathname);
}

/** Draw one head again, and what depends on it. */
function refresh(head) {
  showHead(head);
  images.forEach((image) => drawPanel(image, heads.indexOf(head)));
  showPairs();
  showMarks();
  if (byId("order").value === "disagreement") showOrder();
}

function readAddress() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const head of heads) {
    const value = Number.parseFloat(state.get(head.name));
    head.moved = head.takesThreshold && value >= head.floor && value <= 1 ? value : null;
  }
  byId("order").value = orders.has(state.get(ORDER)) ? state.get(ORDER) : "all";
}

function drawPanels() {
  images.forEach((image) => heads.forEach((_, place) => drawPanel(image, place)));
}

function showAll() {
  showOrder(); // Names are as large as the width of a panel in the page allows.
  heads.forEach(showHead);
  drawPanels();
  showPairs();
  showMarks();
}

async function unpackImage(image) {
  image.photo = await picture(image.photo);
  for (const panel of image.panels.filter(Boolean)) {
    if (panel.regions) panel.regions = unpackRegions(panel.regions);
    if (panel.pixels) panel.pixels = await unpackPixels(panel.pixels);
    if (panel.picture) panel.picture = await picture(panel.picture);
  }
}

async function start() {
  heads.forEach(unpackHead);
  pairs.forEach((pair) => { pair.verdicts = unpack(pair.verdicts, "u1"); });
  await Promise.all(images.map(unpackImage));
  heads.forEach(makeCard);
  heads.filter((head) => head.takesThreshold).forEach(makeSlider);
  images.forEach(makeFigure);
  byId("order").append(...Array.from(orders, ([value, { title }]) => element("option", { value }, title)));
  byId("disagreement").hidden = !pairs.length;
  readAddress();
  showAll();
  byId("order").addEventListener("change", () => { showOrder(); writeAddress(); });
  byId("large").addEventListener("change", ({ target }) => { document.body.classList.toggle("large", target.checked); drawPanels(); });
  addEventListener("hashchange", () => { readAddress(); showAll(); });
  addEventListener("resize", drawPanels);
  document.body.dataset.ready = "yes";
}

start();
