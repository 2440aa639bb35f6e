"use strict";
/* The gallery: cards from facts; pictures from blocks in the page, or from a folder beside it, fetched while a card is
   near the screen. Text from the dataset is only ever set as text. State lives in the address (#filter=…&open=…), so
   that a link to what one sees can be kept; #all=1 shows every picture of a page at once, as printing does. The body's
   data-pictures, data-loaded and data-broken say how many pictures there are, were decoded and could not be.
   Six files, one script: this one makes the cards, report_gallery_filter.js chooses and orders them, turns pages and
   keeps the state, _plots.js draws statistics, _cloud.js points, _large.js shows one sample, _keys.js answers keys and
   starts everything. */

const byId = (id) => document.getElementById(id);
const DATA = JSON.parse(byId("data").textContent);
const COLUMNS = DATA.columns;
const BLOCKS = [...document.querySelectorAll("script.pictures")];
const TITLES = { rgb: "RGB", depth: "Depth", normal: "Normals", mask: "Mask", alpha: "Alpha", albedo: "Albedo", trust: "Trust" };
const COMPARED = ["rgb", "depth", "normal"];
const ZOOM = 5;
const LISTS = ["scan", "background", "framing", "split", "flag"];
const NUMBERS = ["index", "focal", "distance", "yaw", "pitch", "roll", "exposure", "share", "magnification", "seconds"];
const WORDS = ["split", "scan", "person", "background", "framing", "flag", "engine"];

/* A sample is its number; what is said of it is read from the columns when asked for. */
class Row {
  constructor(i) {
    this.i = i;
  }
  get id() {
    return String(this.index).padStart(8, "0");
  }
}
for (const [name, { words, at }] of Object.entries(COLUMNS)) {
  const named = (k) => (Array.isArray(k) ? k.map((each) => words[each]) : words[k]);
  Object.defineProperty(Row.prototype, name, { get() { return words ? named(at[this.i]) : at[this.i]; } });
}
const SAMPLES = Array.from({ length: DATA.samples }, (_, i) => new Row(i));
const NUMBER_OF = new Map(COLUMNS.index.at.map((index, i) => [index, i]));
const shownNames = (sample) => sample.pictures.filter((name) => name in TITLES);

/* ---- where pictures come from ---- */

const KEPT_CHUNKS = 8;
const chunks = new Map(); // number -> promise of its samples' pictures; the latest asked for last
const awaited = new Map();
const fileOf = (number, ending) => `${DATA.folder}/${String(number).padStart(6, "0")}.${ending}`;

/* Called by the files of the folder. */
function receive(number, pictures) {
  awaited.get(number)?.(pictures);
}

function loadChunk(number) {
  return new Promise((resolve, reject) => {
    const script = element("script");
    awaited.set(number, resolve);
    script.addEventListener("load", () => script.remove());
    script.addEventListener("error", () => {
      chunks.delete(number);
      script.remove();
      reject(new Error(script.src));
    });
    script.src = fileOf(number, "js");
    document.head.append(script);
  });
}

/* Promise of {name: address} of a sample's pictures. */
function picturesOf(i) {
  if (!DATA.folder) return Promise.resolve(JSON.parse(BLOCKS[i].textContent));
  const number = Math.floor(i / DATA.chunk);
  const chunk = chunks.get(number) ?? loadChunk(number);
  chunks.delete(number);
  chunks.set(number, chunk);
  if (chunks.size > KEPT_CHUNKS) chunks.delete(chunks.keys().next().value);
  return chunk.then((pictures) => pictures[i % DATA.chunk]);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/* ---- what is said of a sample ---- */

const fixed = (x, digits) => (x === null ? "none" : x.toFixed(digits).replace("-", "−"));
const signed = (x, digits) => (x >= 0 ? "+" : "") + fixed(x, digits);

function factsOf(s, full) {
  const people = s.person.join(", ");
  return [
    people === s.scan.join(", ") ? null : ["Person", people],
    ["Background", s.background],
    ["Framing", s.framing],
    ["Focal", `${fixed(s.focal, 0)} mm, ${fixed(s.focal_px, 0)} px`],
    ["Distance", s.distance === null ? "none" : `${fixed(s.distance, 2)} m`],
    ["Yaw", `${fixed(s.yaw, 0)}°`],
    ["Pitch", `${signed(s.pitch, 1)}°`],
    ["Roll", `${signed(s.roll, 1)}°`],
    ["Exposure", `${signed(s.exposure, 2)} EV`],
    ["Subject", `${fixed(100 * s.share, 1)} %`],
    ["Magnified", `${fixed(s.magnification, 1)}×`],
    s.refused.length ? ["Refused", s.refused.join("; ")] : null,
    ...(full ? [["Size", `${s.width} × ${s.height}`], ["Film", s.engine], ["Split", s.split], ["Took", `${fixed(s.seconds, 1)} s`]] : []),
  ].filter(Boolean);
}

function fillFacts(list, sample) {
  list.replaceChildren(...factsOf(sample, list.closest("dialog")).map(([term, text]) => {
    const pair = element("div");
    pair.append(element("dt", "", term), element("dd", "", text));
    return pair;
  }));
}

function fillTitle(heading, sample) {
  const id = element("span", "id", sample.id);
  heading.replaceChildren(...(heading.closest("dialog") ? [id, sample.scan.join(" + ")] : [element("span", "scan", sample.scan.join(" + ")), id]));
}

function captionOf(name, sample) {
  if (name !== "depth") return TITLES[name];
  return sample.depth ? `Depth ${fixed(sample.depth[0], 2)} – ${fixed(sample.depth[1], 2)} m` : "Depth none";
}

/* ---- cards ---- */

const loadedOnce = new WeakSet();
const counts = { pictures: 0, loaded: 0, broken: 0 };

function report() {
  for (const [name, n] of Object.entries(counts)) document.body.dataset[name] = n;
}

function makeFigure(name, sample) {
  const frame = element("div", "frame");
  const names = name === "rgb" && sample.pictures.includes("outline") ? [name, "outline"] : [name];
  for (const part of names) {
    const image = element("img", part === "outline" ? "over" : "");
    image.width = sample.width;
    image.height = sample.height;
    image.alt = part === "outline" ? "" : `${TITLES[name]} of ${sample.id}`;
    image.decoding = "async";
    image.dataset.name = part;
    frame.append(image);
  }
  return captioned(frame, name, sample);
}

/* A window onto the sheet of thumbnails of the sample's chunk: a row a sample, a column a picture. It is a little
   smaller than the tile, or its neighbours would shine in at the edges. */
const TRIM = 1.02;
const shifted = (tiles) => `${-100 * (tiles * TRIM + (TRIM - 1) / 2)}%`;

function makeThumbnail(name, sample) {
  const frame = element("div", "frame tile");
  const image = element("img");
  const [width, height] = DATA.tile;
  const rows = Math.min(DATA.chunk, DATA.samples - sample.i + (sample.i % DATA.chunk));
  frame.style.aspectRatio = `${width} / ${height}`;
  image.style.width = `${100 * TRIM * COMPARED.length}%`;
  image.style.height = `${100 * TRIM * rows}%`;
  image.style.left = shifted(COMPARED.indexOf(name));
  image.style.top = shifted(sample.i % DATA.chunk);
  image.alt = `${TITLES[name]} of ${sample.id}`;
  image.decoding = "async";
  frame.append(image);
  return captioned(frame, name, sample);
}

function captioned(frame, name, sample) {
  const figure = element("figure");
  const caption = element("figcaption", "", captionOf(name, sample));
  caption.title = caption.textContent;
  figure.append(frame, caption);
  return figure;
}

function watchLoading(image) {
  counts.pictures += 1;
  const done = (good) => {
    image.closest("figure").classList.toggle("broken", !good);
    if (loadedOnce.has(image)) return;
    loadedOnce.add(image);
    counts[good ? "loaded" : "broken"] += 1;
    report();
  };
  image.addEventListener("load", () => done(image.naturalWidth > 0));
  image.addEventListener("error", () => done(false));
}

function makeCard(i) {
  const sample = SAMPLES[i];
  const card = element("article", "card");
  card.tabIndex = -1;
  card.id = `sample-${sample.id}`;
  card.dataset.i = i;
  const row = element("div", "row");
  const about = element("div", "about");
  const head = element("div", "head");
  const heading = element("h2");
  const flags = element("div", "flags");
  flags.append(...sample.flag.map((flag) => element("span", "", flag.replaceAll("_", " "))));
  const facts = element("dl", "facts");
  const strip = makeStrip(sample);
  head.append(heading, flags);
  about.append(head, facts);
  row.append(about, strip);
  card.append(row);
  fillTitle(heading, sample);
  fillFacts(facts, sample);
  for (const image of strip.querySelectorAll("img")) watchLoading(image);
  card.addEventListener("click", () => openLarge(i));
  return card;
}

/* What is compared large; in one page the rest at half the size beside it, two above each other. */
function makeStrip(sample) {
  const strip = element("div", "strip");
  if (DATA.folder) {
    strip.append(...COMPARED.map((name) => makeThumbnail(name, sample)));
    strip.style.gridTemplateColumns = `repeat(${COMPARED.length}, minmax(0, 1fr))`;
    return strip;
  }
  const side = element("div", "side");
  const rest = shownNames(sample).filter((name) => !COMPARED.includes(name));
  side.append(...rest.map((name) => makeFigure(name, sample)));
  strip.append(...COMPARED.map((name) => makeFigure(name, sample)), side);
  strip.style.gridTemplateColumns = `repeat(3, minmax(0, 2fr)) minmax(0, ${Math.ceil(rest.length / 2)}fr)`;
  return strip;
}

async function loadCard(card) {
  card.dataset.near = "";
  const i = Number(card.dataset.i);
  const sheet = DATA.folder && fileOf(Math.floor(i / DATA.chunk), "jpg");
  const pictures = sheet ? null : await picturesOf(i);
  if (!("near" in card.dataset)) return; // it has left meanwhile
  for (const image of card.querySelectorAll("img")) if (!image.src) image.src = sheet || pictures[image.dataset.name];
}

function releaseCard(card) {
  delete card.dataset.near;
  for (const image of card.querySelectorAll("img")) image.removeAttribute("src");
}

let cards = new Map(); // of the page on screen, by sample
let everything = false;
const near = new IntersectionObserver(
  (entries) => entries.forEach((e) => (e.isIntersecting ? loadCard(e.target) : releaseCard(e.target))),
  { rootMargin: "1200px 0px" },
);

/* Puts the cards of these samples on screen; those that stay are not made again. */
function showCards(samples) {
  if (samples.length === cards.size && [...cards.keys()].every((i, k) => i === samples[k])) return;
  near.disconnect();
  cards = new Map(samples.map((i) => [i, cards.get(i) ?? makeCard(i)]));
  byId("cards").replaceChildren(...cards.values());
  for (const card of cards.values()) everything ? loadCard(card) : near.observe(card);
}

function loadAll() {
  everything = true;
  near.disconnect();
  cards.forEach(loadCard);
}
