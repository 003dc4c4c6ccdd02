"use strict";

// The page's data: see contents.py. Heads and images are told by their places in its lists.
const data = JSON.parse(document.getElementById("data").textContent);
const { heads, pairs, images } = data;
const MASK = 0.35, MAP = 0.7, DARK = 0.6; // opacities
const BINS = 40, CLASSES = 12; // of a histogram; named in a table
const [NOT_JUDGED, AGREES, DISAGREES] = [0, 1, 2];

// ---- numbers ------------------------------------------------------------------------------------

const TYPES = { f4: Float32Array, u2: Uint16Array, u1: Uint8Array };

function unpack(text, type) {
  return new TYPES[type](Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

const sum = (values) => values.reduce((a, b) => a + b, 0);
const percent = (share) => (share > 0 && share < 0.001 ? "under 0.1 %" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`);
const className = (head, k) => head.classes[k] ?? "unknown";

/** The lowest score of a class that counts: the slider's, or the recipe's while nobody moved it. */
const limit = (head, k) => head.moved ?? head.limits?.[k] ?? head.floor;
// Scores are stored in 32 bits, confidences in 8; both are compared as the labels are read.
const keepsBox = (head, k, score) => score >= Math.fround(limit(head, k));
const lowestByte = (head, k) => Math.ceil(255 * limit(head, k) - 1e-9);

function unpackHead(head) {
  const { answers, regions, pixels } = head.sample;
  if (answers) {
    answers.scores = unpack(answers.scores, "f4");
    answers.classes = unpack(answers.classes, "u2");
  }
  if (regions) {
    regions.scores = unpack(regions.scores, "f4");
    regions.classes = unpack(regions.classes, "u2");
    regions.counts = unpack(regions.counts, "u2");
  }
  if (pixels) {
    pixels.histogram = unpack(pixels.histogram, "f4");
    pixels.highest = unpack(pixels.highest, "u2");
  }
  head.moved = null;
  head.takesThreshold = head.limits !== null && Boolean(regions || pixels);
}

function unpackRegions(regions) {
  const boxes = unpack(regions.boxes, "f4");
  const scores = unpack(regions.scores, "f4");
  const classes = unpack(regions.classes, "u2");
  return Array.from(scores, (score, i) => ({
    place: i,
    box: boxes.slice(4 * i, 4 * i + 4),
    score,
    class: classes[i],
    mask: regions.masks[i] && unpack(regions.masks[i], "u1"),
    side: regions.sides[i],
  }));
}

// ---- what the sample says at the present thresholds -----------------------------------------------

/** {counts of classes, unit, [name, value] of each number} of the records of a head. */
function count(head) {
  const { answers, regions, pixels } = head.sample;
  const counts = new Array(head.classes.length).fill(0);
  const facts = [];
  let unit = "";
  if (answers) {
    unit = "images";
    answers.classes.forEach((k) => counts[k]++);
    facts.push(["images", answers.classes.length]);
    facts.push(["mean probability of the first class", (sum(answers.scores) / answers.scores.length).toFixed(2)]);
  }
  if (regions) {
    unit = "boxes";
    let empty = 0, place = 0;
    for (const number of regions.counts) {
      let kept = 0;
      for (const end = place + number; place < end; place++) {
        const k = regions.classes[place];
        if (keepsBox(head, k, regions.scores[place])) { counts[k]++; kept++; }
      }
      empty += kept === 0;
    }
    facts.push(["boxes per image", (sum(counts) / regions.counts.length).toFixed(2), "boxesPerImage"]);
    facts.push(["images without any box", percent(empty / regions.counts.length), "empty"]);
  }
  if (pixels) {
    unit = "of all pixels";
    let filled = 0;
    head.classes.forEach((_, k) => {
      const lowest = lowestByte(head, k);
      for (let byte = lowest; byte < 256; byte++) counts[k] += pixels.histogram[256 * k + byte] / pixels.images;
    });
    for (let i = 0; i < pixels.images; i++) {
      filled += head.classes.some((_, k) => pixels.highest[i * head.classes.length + k] > lowestByte(head, k));
    }
    facts.push(["kept pixels", percent(sum(counts)), "kept"]);
    facts.push(["images without any kept pixel", percent(1 - filled / pixels.images), "empty"]);
  }
  return { counts, unit, facts };
}

/** [BINS] how many answers, boxes or pixels have each score; null where there is none. */
function histogram({ answers, regions, pixels }) {
  const bins = new Array(BINS).fill(0);
  const add = (score, weight) => { bins[Math.min(BINS - 1, Math.floor(score * BINS))] += weight; };
  if (pixels) pixels.histogram.forEach((share, i) => add((i % 256) / 255, share));
  else if (regions || answers) (regions ?? answers).scores.forEach((score) => add(score, 1));
  else return null;
  return bins;
}

/** What one head says of another's boxes in the sample, at the present threshold of the boxes. */
function judged(pair) {
  const head = heads[pair.objects], { scores, classes } = head.sample.regions;
  const found = [0, 0, 0];
  pair.verdicts.forEach((verdict, i) => { found[verdict] += keepsBox(head, classes[i], scores[i]); });
  return found;
}

/** Boxes of an image that count and that another head disputes: [{pair, region}]. */
function disputed(image, only = null) {
  return pairs.flatMap((pair, p) => {
    const regions = image.panels[pair.objects]?.regions;
    if (!regions || (only && only !== pair)) return [];
    const head = heads[pair.objects];
    return regions
      .filter((r) => image.verdicts[p][r.place] === DISAGREES && keepsBox(head, r.class, r.score))
      .map((region) => ({ pair, region }));
  });
}

// ---- drawing ----------------------------------------------------------------------------------

function picture(uri) {
  const element = new Image();
  element.src = uri;
  return element.decode().then(() => element);
}

/** {classes, confidence} of a map's PNG. */
async function unpackPixels(uri) {
  const { canvas, context } = layer(await picture(uri));
  const { data: bytes } = context.getImageData(0, 0, canvas.width, canvas.height);
  return { bytes, width: canvas.width, height: canvas.height };
}

/** A canvas of a picture's size, with the picture. */
function layer(source, width = source.width, height = source.height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (source instanceof Image) context.drawImage(source, 0, 0);
  return { canvas, context };
}

function rgb(colour) {
  return [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
}

function drawPixels(context, head, pixels) {
  const { canvas, width, height } = context;
  const { canvas: above, context: ink } = layer({}, pixels.width, pixels.height);
  const colours = head.colours.map(rgb), lowest = head.classes.map((_, k) => lowestByte(head, k));
  const out = ink.createImageData(pixels.width, pixels.height);
  let kept = 0;
  for (let i = 0; i < out.data.length; i += 4) {
    const k = pixels.bytes[i];
    const keep = k < colours.length && pixels.bytes[i + 1] >= lowest[k];
    kept += keep;
    out.data.set(keep ? [...colours[k], 255 * MAP] : [0, 0, 0, 255 * DARK], i);
  }
  ink.putImageData(out, 0, 0);
  context.globalCompositeOperation = "saturation"; // The photo becomes grey.
  context.fillStyle = "#808080";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-over";
  context.drawImage(above, 0, 0, canvas.width, canvas.height);
  return `${percent(kept / (pixels.width * pixels.height))} of the pixels kept`;
}

function drawMask(context, region, colour, [x, y, w, h]) {
  const { canvas: stencil, context: ink } = layer({}, region.side, region.side);
  const out = ink.createImageData(region.side, region.side);
  for (let i = 0; i < region.side ** 2; i++) {
    const bit = (region.mask[i >> 3] >> (7 - (i & 7))) & 1;
    out.data.set([...rgb(colour), bit * 255 * MASK], 4 * i);
  }
  ink.putImageData(out, 0, 0);
  context.drawImage(stencil, x, y, w, h);
}

function drawRegions(context, head, regions, doubtful) {
  const { canvas } = context;
  const dot = canvas.width / (canvas.clientWidth || canvas.width); // a pixel of the screen
  const kept = regions.filter((r) => keepsBox(head, r.class, r.score));
  context.font = `${11 * dot}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const region of kept.toReversed?.() ?? [...kept].reverse()) { // The surest is on top.
    const [ymin, xmin, ymax, xmax] = region.box, colour = head.colours[region.class];
    const x = xmin * canvas.width, y = ymin * canvas.height;
    const w = (xmax - xmin) * canvas.width, h = (ymax - ymin) * canvas.height;
    if (region.mask) drawMask(context, region, colour, [x, y, w, h]);
    const lines = [[4, "#000"], [2, colour]];
    for (const [thick, stroke] of lines) {
      context.setLineDash(doubtful.has(region.place) ? [5 * dot, 4 * dot] : []);
      context.lineWidth = thick * dot;
      context.strokeStyle = stroke;
      context.strokeRect(x, y, w, h);
    }
    context.setLineDash([]);
    const text = `${className(head, region.class)} ${region.score.toFixed(2)}`;
    const width = context.measureText(text).width + 4 * dot, height = 13 * dot;
    const left = Math.max(0, Math.min(x, canvas.width - width)), top = y > height ? y - height : y;
    context.fillStyle = colour;
    context.fillRect(left, top, width, height);
    context.fillStyle = "#000";
    context.fillText(text, left + 2 * dot, top + dot);
  }
  canvas.dataset.boxes = kept.length;
  canvas.dataset.dashed = kept.filter((r) => doubtful.has(r.place)).length;
  const told = kept.slice(0, 8).map((r) => `${className(head, r.class)} ${r.score.toFixed(2)}${doubtful.has(r.place) ? " (in question)" : ""}`);
  return `${kept.length} of ${regions.length} boxes${told.length ? `: ${told.join(", ")}` : ""}`;
}

/** Draws what a head says of an image at the present threshold. */
function drawPanel(image, place) {
  const head = heads[place], panel = image.panels[place], { canvas } = panel ?? {};
  if (!canvas) return;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  const told = [];
  context.drawImage(panel.picture ?? image.photo, 0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = true;
  if (panel.pixels) told.push(drawPixels(context, head, panel.pixels));
  if (panel.regions) {
    const doubtful = new Set(disputed(image).filter((d) => d.pair.objects === place).map((d) => d.region.place));
    told.push(drawRegions(context, head, panel.regions, doubtful));
  }
  if (!told.length) told.push(head.legend || "picture");
  canvas.setAttribute("aria-label", `${head.name} of ${image.name}: ${told.join("; ")}`);
  panel.note.textContent = told.join("; ").split(":")[0];
}

// ---- the page ---------------------------------------------------------------------------------

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
  const said = element("output", { for: id });
  const back = element("button", { type: "button" }, "as in the recipe");
  slider.addEventListener("input", () => move(head, Number(slider.value)));
  back.addEventListener("click", () => move(head, null));
  head.controls = { slider, said, back };
  byId("sliders").append(element("div", { class: "slider" }, element("label", { for: id }, head.name), slider, said, back));
}

function makeCard(head) {
  const bins = histogram(head.sample);
  const card = element("section", { class: "card", id: `head-${head.name}` }, element("h3", {}, head.name));
  card.append(element("p", { class: "soft" }, [`teacher ${head.teacher}`, head.kind, head.unit, head.legend].filter(Boolean).join(", ")));
  head.facts = element("dl", { "aria-live": "polite" });
  head.table = element("table");
  if (bins) card.append(makeHistogram(head, bins), head.facts, head.table);
  else card.append(element("p", {}, "No scores: its labels are all used, and it has no part in the order by certainty."));
  byId("heads").append(card);
}

function makeHistogram(head, bins) {
  const name = "http://www.w3.org/2000/svg", most = Math.sqrt(Math.max(...bins)) || 1;
  const svg = document.createElementNS(name, "svg");
  svg.setAttribute("viewBox", "0 0 400 110");
  svg.setAttribute("role", "img");
  const what = head.sample.pixels ? "confidence of pixels" : head.sample.regions ? "scores of boxes" : "probability of the first class";
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
  const low = head.takesThreshold ? Math.min(...head.classes.map((_, k) => limit(head, k))) : 0;
  const high = head.takesThreshold ? Math.max(...head.classes.map((_, k) => limit(head, k))) : 0;
  if (head.takesThreshold) {
    const { slider, said, back } = head.controls;
    slider.value = low;
    said.textContent = low === high ? Number(low.toFixed(3)) : `${low} to ${high} by class`;
    back.hidden = head.moved === null;
    ["x1", "x2"].forEach((x) => head.mark.setAttribute(x, 400 * low));
  }
  head.bars?.forEach((bar, i) => bar.classList.toggle("below", (i + 1) / BINS <= low));
  head.facts.replaceChildren(...facts.flatMap(([name, value, key]) => {
    const told = element("dd", {}, String(value));
    if (key) told.dataset.fact = key;
    return [element("dt", {}, name), told];
  }));
  const order = counts.map((_, k) => k).sort((a, b) => counts[b] - counts[a]);
  const most = Math.max(...counts, 1e-9), rest = order.length - CLASSES;
  head.table.replaceChildren(
    element("caption", {}, `classes, ${unit}`),
    ...order.slice(0, CLASSES).map((k) => element("tr", {},
      element("th", { scope: "row" }, element("i", { class: "swatch", style: `background:${head.colours[k]}` }), head.classes[k]),
      element("td", { class: "bar", style: `--share:${counts[k] / most}` }, head.sample.pixels ? percent(counts[k]) : String(counts[k])))),
  );
  if (rest > 0) head.table.append(element("tr", {}, element("td", { colspan: 2 }, `and ${rest} more`)));
}

const QUESTIONS = {
  class: (a, b) => `${a}: boxes on pixels that ${b} calls something else`,
  edge: (a, b) => `${a}: boxes without an edge in ${b}`,
};

function showPairs() {
  byId("pairs").replaceChildren(...pairs.map((pair) => {
    const objects = heads[pair.objects], judge = heads[pair.judge];
    const [silent, right, wrong] = judged(pair), all = silent + right + wrong;
    const share = right + wrong ? percent(wrong / (right + wrong)) : "none";
    const item = element("li", { "data-disputed": wrong, "data-judged": right + wrong },
      element("b", {}, QUESTIONS[pair.question](objects.name, judge.name)), `: ${wrong} of ${right + wrong} judged boxes (${share}); ${silent} of ${all} are not judged.`);
    if (pair.unjudged.length === objects.classes.length) item.append(" The two heads have no class name in common, so nothing can be judged.");
    else if (pair.unjudged.length) {
      const named = pair.unjudged.slice(0, CLASSES).join(", "), rest = pair.unjudged.length - CLASSES;
      item.append(` Never judged, for want of a class of this name in ${judge.name}: ${named}${rest > 0 ? ` and ${rest} more` : ""}.`);
    }
    const found = images.map((image) => [image, disputed(image, pair).length]).filter(([, number]) => number);
    if (found.length) item.append(" On this page: ", element("span", { class: "links" }, ...found.map(([image, number]) => {
      const link = element("button", { type: "button" }, `${image.name} (${number})`);
      link.addEventListener("click", () => { image.figure.scrollIntoView({ block: "center" }); image.figure.focus(); });
      return link;
    })));
    return item;
  }));
}

function makeFigure(image) {
  const [height, width] = image.size, scale = 448 / Math.max(height, width);
  const size = { width: Math.round(scale * width), height: Math.round(scale * height) };
  image.doubt = element("span", { class: "doubt" });
  const row = element("div", { class: "panels" });
  const add = (name, note = "") => {
    const canvas = element("canvas", { ...size, role: "img" });
    const said = element("small", {}, note);
    row.append(element("div", { class: "panel" }, element("b", {}, name), canvas, said));
    return { canvas, note: said };
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
  image.figure = element("figure", { class: "image", tabindex: -1 }, element("figcaption", {}, element("b", {}, image.name), " ", image.doubt), row);
}

function makeAnswers(head, panel) {
  const rows = panel.answers.map(([k, p]) => element("tr", {}, element("th", { scope: "row" }, className(head, k)), element("td", { class: "bar", style: `--share:${p}` }, p.toFixed(2))));
  return element("div", { class: "panel" }, element("b", {}, head.name), element("table", { class: "answers" }, ...rows));
}

// ---- orders -----------------------------------------------------------------------------------

const last = (value) => value ?? 2; // Where nothing is said the image comes last.
const orders = new Map([["all", { title: "least certain over all heads", key: (image) => last(image.rank) }]]);
heads.forEach((head, place) => {
  if (images.some((image) => image.panels[place]?.certainty != null)) {
    orders.set(head.name, { title: `least certain of ${head.name}`, key: (image) => last(image.panels[place]?.certainty) });
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
    const sure = image.rank === null ? "" : `certainty ${image.rank.toFixed(2)}`;
    image.doubt.textContent = [sure, number ? `${number} box${number > 1 ? "es" : ""} in question` : ""].filter(Boolean).join(", ");
  }
}

// ---- state: the sliders and the order, which the address tells ------------------------------------

function move(head, value) {
  head.moved = value;
  refresh(head);
  const state = new URLSearchParams();
  heads.forEach((h) => { if (h.moved !== null) state.set(h.name, Number(h.moved.toFixed(4))); });
  if (byId("order").value !== "all") state.set("order", byId("order").value);
  history.replaceState(null, "", `#${state}`);
}

/** Draws one head again, and what depends on it. */
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
  byId("order").value = orders.has(state.get("order")) ? state.get("order") : "all";
}

function showAll() {
  heads.forEach(showHead);
  images.forEach((image) => heads.forEach((_, place) => drawPanel(image, place)));
  showPairs();
  showMarks();
  showOrder();
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
  byId("order").addEventListener("change", () => { showOrder(); move(heads[0], heads[0].moved); });
  addEventListener("hashchange", () => { readAddress(); showAll(); });
  addEventListener("resize", () => images.forEach((image) => heads.forEach((_, place) => drawPanel(image, place))));
  document.body.dataset.ready = "yes";
}

start();
