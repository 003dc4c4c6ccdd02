// Panels: a head's labels of an image at the current thresholds.

const MASK = 0.35, MAP = 0.7, DARK = 0.6; // opacities
const MAX_WIDE_NAMES = 12; // boxes
const MAX_SWATCHES = 8; // of a panel's legend

function picture(uri) {
  return new Promise((loaded, failed) => {
    const element = new Image();
    element.onload = () => loaded(element);
    element.onerror = () => failed(new Error("an image of this page cannot be read"));
    element.src = uri;
  });
}

/** Return the bytes of a map's PNG, (class, confidence, 0, 255) of each cell, and its size. */
async function unpackPixels(uri) {
  const { canvas, context } = layer(await picture(uri));
  const { data: bytes } = context.getImageData(0, 0, canvas.width, canvas.height);
  return { bytes, width: canvas.width, height: canvas.height };
}

/** Return a canvas of an image's size, with the image. */
function layer(source, width = source.width, height = source.height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (source instanceof Image) context.drawImage(source, 0, 0);
  return { canvas, context };
}

function rgb(color) {
  return [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
}

function isDark(color) {
  const [red, green, blue] = rgb(color);
  return 0.3 * red + 0.59 * green + 0.11 * blue < 115;
}

const nameOf = (head, region) => `${className(head, region.class)} ${region.score.toFixed(2)}`;

function drawPixels(context, head, pixels) {
  const { canvas } = context;
  const { canvas: above, context: ink } = layer({}, pixels.width, pixels.height);
  const colors = head.colors.map(rgb), lowest = head.classes.map((_, k) => lowestByte(head, k));
  const out = ink.createImageData(pixels.width, pixels.height);
  const counts = new Array(colors.length).fill(0);
  for (let i = 0; i < out.data.length; i += 4) {
    const k = pixels.bytes[i];
    const keep = k < colors.length && pixels.bytes[i + 1] >= lowest[k];
    if (keep) counts[k]++;
    out.data.set(keep ? [...colors[k], 255 * MAP] : [0, 0, 0, 255 * DARK], i);
  }
  ink.putImageData(out, 0, 0);
  context.globalCompositeOperation = "saturation"; // The photo becomes gray.
  context.fillStyle = "#808080";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-over";
  context.drawImage(above, 0, 0, canvas.width, canvas.height);
  const order = counts.map((_, k) => k).filter((k) => counts[k]).sort((a, b) => counts[b] - counts[a]);
  const swatches = order.map((k) => ({ name: className(head, k), color: head.colors[k] }));
  return { short: `${percent(sum(counts) / (pixels.width * pixels.height))} of the pixels kept`, swatches };
}

function drawMask(context, region, color, [x, y, w, h]) {
  const { canvas: stencil, context: ink } = layer({}, region.side, region.side);
  const out = ink.createImageData(region.side, region.side);
  for (let i = 0; i < region.side ** 2; i++) {
    const bit = (region.mask[i >> 3] >> (7 - (i & 7))) & 1;
    out.data.set([...rgb(color), bit * 255 * MASK], 4 * i);
  }
  ink.putImageData(out, 0, 0);
  context.drawImage(stencil, x, y, w, h);
}

function drawRegions(context, head, regions, doubtful) {
  const { canvas } = context;
  const dot = canvas.width / (canvas.clientWidth || canvas.width); // a pixel of the screen
  const kept = regions.filter((r) => keepsBox(head, r.class, r.score)).map((r) => {
    const [ymin, xmin, ymax, xmax] = r.box;
    const frame = [xmin * canvas.width, ymin * canvas.height, (xmax - xmin) * canvas.width, (ymax - ymin) * canvas.height];
    return { ...r, frame, isDoubtful: doubtful.has(r.place), color: head.colors[r.class] };
  });
  for (const region of [...kept].reverse()) drawRegion(context, region, dot); // The most certain is on top.
  drawNames(context, head, kept, dot);
  canvas.dataset.boxes = kept.length;
  canvas.dataset.dashed = kept.filter((r) => r.isDoubtful).length;
  const named = kept.map((r) => `${nameOf(head, r)}${r.isDoubtful ? " (in question)" : ""}`);
  return { short: `${kept.length} of ${regions.length} boxes`, long: named.slice(0, 8).join(", ") };
}

function drawRegion(context, region, dot) {
  const { frame, color } = region;
  if (region.mask) drawMask(context, region, color, frame);
  const thick = Math.max(0.7, Math.min(2, Math.min(frame[2], frame[3]) / dot / 12));
  context.setLineDash(region.isDoubtful ? [5 * dot, 4 * dot] : []);
  for (const [width, stroke] of [[2 * thick, "#000"], [thick, color]]) {
    context.lineWidth = width * dot;
    context.strokeStyle = stroke;
    context.strokeRect(...frame);
  }
  context.setLineDash([]);
}

/** Draw names where no more certain one is in the way; among many boxes only names that fit. */
function drawNames(context, head, regions, dot) {
  const { canvas } = context, height = 13 * dot, taken = [];
  context.font = `${11 * dot}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const region of regions) {
    const [x, y, w] = region.frame, text = nameOf(head, region);
    const width = context.measureText(text).width + 4 * dot;
    const left = Math.max(0, Math.min(x, canvas.width - width)), top = y > height ? y - height : y;
    const isInTheWay = ([l, t, r]) => left < r && l < left + width && Math.abs(t - top) < height;
    if (taken.some(isInTheWay) || (regions.length > MAX_WIDE_NAMES && width > w)) continue;
    taken.push([left, top, left + width]);
    context.fillStyle = region.color;
    context.fillRect(left, top, width, height);
    context.fillStyle = isDark(region.color) ? "#fff" : "#000";
    context.fillText(text, left + 2 * dot, top + dot);
  }
}

/** Return names beside their colors; of many, the first. */
function makeLegend(swatches) {
  const shown = swatches.slice(0, MAX_SWATCHES), rest = swatches.length - shown.length;
  const legend = element("span", { class: "legend" }, ...shown.map(({ name, color }) =>
    element("span", {}, element("i", { class: "swatch", style: `background:${color}` }), name)));
  if (rest > 0) legend.append(element("span", {}, `and ${rest} more`));
  return legend;
}

/** Return the scale of a picture: its colors, and the values at both ends and in the middle. */
function makeBar({ colors, ticks }) {
  const strip = element("span", { class: "strip", style: `background:linear-gradient(to right,${colors.join()})` });
  return element("span", { class: "scale" }, strip, ...ticks.map((tick) => element("span", {}, tick)));
}

/** Draw a head's labels of an image at the current threshold. */
function drawPanel(image, place) {
  const head = heads[place], panel = image.panels[place], { canvas } = panel ?? {};
  if (!canvas) return;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  const notes = [];
  context.drawImage(panel.picture ?? image.photo, 0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = true;
  if (panel.pixels) notes.push(drawPixels(context, head, panel.pixels));
  if (panel.regions) {
    const doubtful = new Set(disputed(image).filter((d) => d.pair.objects === place).map((d) => d.region.place));
    notes.push(drawRegions(context, head, panel.regions, doubtful));
  }
  if (!notes.length) notes.push({ short: panel.bar ? "" : head.legend, long: panel.bar ? head.legend : "", swatches: head.swatches });
  const label = notes.flatMap(({ short, long }) => [short, long]).filter(Boolean).join(", ");
  canvas.setAttribute("aria-label", `${head.name} of ${image.name}: ${label}`);
  const swatches = notes.flatMap((note) => note.swatches ?? []);
  panel.note.replaceChildren(...panel.bar ? [makeBar(panel.bar)] : [], notes.map(({ short }) => short).filter(Boolean).join(", "));
  if (swatches.length) panel.note.append(makeLegend(swatches));
}
