// Panels: what a head says of an image, drawn at the present thresholds.

const MASK = 0.35, MAP = 0.7, DARK = 0.6; // opacities

function picture(uri) {
  return new Promise((loaded, failed) => {
    const element = new Image();
    element.onload = () => loaded(element);
    element.onerror = () => failed(new Error("a picture of this page cannot be read"));
    element.src = uri;
  });
}

/** The bytes of a map's PNG, (class, confidence, 0, 255) of each cell, and its size. */
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

function isDark(colour) {
  const [red, green, blue] = rgb(colour);
  return 0.3 * red + 0.59 * green + 0.11 * blue < 115;
}

const nameOf = (head, region) => `${className(head, region.class)} ${region.score.toFixed(2)}`;

function drawPixels(context, head, pixels) {
  const { canvas } = context;
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
  return { short: `${percent(kept / (pixels.width * pixels.height))} of the pixels kept` };
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
  for (const region of [...kept].reverse()) { // The surest is on top.
    const [ymin, xmin, ymax, xmax] = region.box, colour = head.colours[region.class];
    const x = xmin * canvas.width, y = ymin * canvas.height;
    const w = (xmax - xmin) * canvas.width, h = (ymax - ymin) * canvas.height;
    if (region.mask) drawMask(context, region, colour, [x, y, w, h]);
    context.setLineDash(doubtful.has(region.place) ? [5 * dot, 4 * dot] : []);
    for (const [thick, stroke] of [[4, "#000"], [2, colour]]) {
      context.lineWidth = thick * dot;
      context.strokeStyle = stroke;
      context.strokeRect(x, y, w, h);
    }
    context.setLineDash([]);
    const text = nameOf(head, region);
    const width = context.measureText(text).width + 4 * dot, height = 13 * dot;
    const left = Math.max(0, Math.min(x, canvas.width - width)), top = y > height ? y - height : y;
    context.fillStyle = colour;
    context.fillRect(left, top, width, height);
    context.fillStyle = isDark(colour) ? "#fff" : "#000";
    context.fillText(text, left + 2 * dot, top + dot);
  }
  canvas.dataset.boxes = kept.length;
  canvas.dataset.dashed = kept.filter((r) => doubtful.has(r.place)).length;
  const named = kept.map((r) => `${nameOf(head, r)}${doubtful.has(r.place) ? " (in question)" : ""}`);
  return { short: `${kept.length} of ${regions.length} boxes`, long: named.slice(0, 8).join(", ") };
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
  if (!told.length) told.push({ short: head.legend });
  const label = told.flatMap(({ short, long }) => [short, long]).filter(Boolean).join(", ");
  canvas.setAttribute("aria-label", `${head.name} of ${image.name}: ${label}`);
  panel.note.textContent = told.map(({ short }) => short).join(", ");
}
