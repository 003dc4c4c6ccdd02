"use strict";

// Counts of the labels at the current thresholds.

// The page's data: see viewer/__init__.py. Heads and images are numbered by their places in its lists.
const data = JSON.parse(document.getElementById("data").textContent);
const { heads, pairs, images } = data;
const BINS = 40, CLASSES = 12; // of a histogram; named in a table
const DISAGREES = 2; // see disagreement.Verdict

const TYPES = { f4: Float32Array, u2: Uint16Array, u1: Uint8Array };

function unpack(text, type) {
  return new TYPES[type](Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

function percent(share) {
  if (share > 0 && share < 0.001) return "under 0.1 %";
  return `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

const className = (head, k) => head.classes[k] ?? "unknown";

/** The threshold of a class: the slider's, or the recipe's where the slider has not been moved. */
const limit = (head, k) => head.moved ?? head.limits?.[k] ?? head.floor;
// Scores are stored in 32 bits, confidences in 8; both are compared as when labels are read.
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

// ---- the sample at the current thresholds ----------------------------------------------------

/** Return {counts of classes, unit, [name, value] of each number} of a head's records. */
function count(head) {
  const { answers, regions, pixels } = head.sample;
  const counts = new Array(head.classes.length).fill(0);
  const facts = [];
  let unit = "";
  if (answers) {
    unit = "images";
    answers.classes.forEach((k) => counts[k]++);
    facts.push(["images", answers.classes.length]);
    facts.push(["mean probability of the top class", (sum(answers.scores) / answers.scores.length).toFixed(2)]);
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

/** Return [BINS] how many images, boxes or pixels have each score; null without scores. */
function histogram({ answers, regions, pixels }) {
  const bins = new Array(BINS).fill(0);
  const add = (score, weight) => { bins[Math.min(BINS - 1, Math.floor(score * BINS))] += weight; };
  if (pixels) pixels.histogram.forEach((share, i) => add((i % 256) / 255, share));
  else if (regions || answers) (regions ?? answers).scores.forEach((score) => add(score, 1));
  else return null;
  return bins;
}

/** Return [not judged, agrees, disagrees]: one head's verdicts on another's boxes in the sample. */
function judged(pair) {
  const head = heads[pair.objects], { scores, classes } = head.sample.regions;
  const found = [0, 0, 0];
  pair.verdicts.forEach((verdict, i) => { found[verdict] += keepsBox(head, classes[i], scores[i]); });
  return found;
}

/** Return [{pair, region}]: the boxes of an image above the threshold that another head disputes. */
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
