"use strict";
/* The gallery: cards from facts; pictures from blocks that are read only while a card is near the screen.
   Text from the dataset is only ever set as text. State lives in the address (#filter=…&sort=…&open=…), so that a link
   to what one sees can be kept; #all=1 shows every picture at once, as printing does. The body's data-pictures,
   data-loaded and data-broken say how many pictures there are, were decoded and could not be.
   Three files, one script: this one makes the cards, report_gallery_filter.js chooses and orders them and keeps the
   state, report_gallery_large.js shows one sample large, answers keys and starts everything. */

const byId = (id) => document.getElementById(id);
const DATA = JSON.parse(byId("data").textContent);
const SAMPLES = DATA.samples;
const BLOCKS = [...document.querySelectorAll("script.pictures")];
const TITLES = { rgb: "RGB", depth: "Depth", normal: "Normals", mask: "Mask", alpha: "Alpha", albedo: "Albedo", trust: "Trust" };
const COMPARED = ["rgb", "depth", "normal"];
const ZOOM = 5;
const LISTS = ["scan", "background", "framing", "flag"];
const NUMBERS = ["index", "focal", "distance", "yaw", "pitch", "roll", "exposure", "share", "magnification"];
const WORDS = ["id", "split", "scan", "person", "background", "framing", "flag", "engine"];

const picturesOf = (i) => JSON.parse(BLOCKS[i].textContent);
const shownNames = (sample) => sample.pictures.filter((name) => name in TITLES);

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
    ...(full ? [["Size", `${s.width} × ${s.height}`], ["Film", s.engine], ["Split", s.split]] : []),
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
  const figure = element("figure");
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

function makeCard(sample, i) {
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

/* What is compared large, the rest at half the size beside it, two above each other. */
function makeStrip(sample) {
  const strip = element("div", "strip");
  const side = element("div", "side");
  const rest = shownNames(sample).filter((name) => !COMPARED.includes(name));
  side.append(...rest.map((name) => makeFigure(name, sample)));
  strip.append(...COMPARED.map((name) => makeFigure(name, sample)), side);
  strip.style.gridTemplateColumns = `repeat(3, minmax(0, 2fr)) minmax(0, ${Math.ceil(rest.length / 2)}fr)`;
  return strip;
}

function loadCard(card) {
  const pictures = picturesOf(card.dataset.i);
  for (const image of card.querySelectorAll("img")) if (!image.src) image.src = pictures[image.dataset.name];
}

function releaseCard(card) {
  for (const image of card.querySelectorAll("img")) image.removeAttribute("src");
}

const CARDS = SAMPLES.map(makeCard);
const near = new IntersectionObserver(
  (entries) => entries.forEach((e) => (e.isIntersecting ? loadCard(e.target) : releaseCard(e.target))),
  { rootMargin: "1200px 0px" },
);

function loadAll() {
  near.disconnect();
  CARDS.forEach(loadCard);
}
