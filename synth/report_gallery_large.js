/* ---- one sample large ---- */

const large = byId("large");
const stage = large.querySelector(".stage");
let current = -1;
let view = "";
let zoomed = false;
let pixels = {};

const openLarge = (i) => writeState({ open: SAMPLES[i].id });

function showLarge(i) {
  if (i < 0) return void (large.open && large.close());
  if (!large.open) {
    large.showModal();
    large.focus();
  }
  current = i;
  const sample = SAMPLES[i];
  fillTitle(large.querySelector("h2"), sample);
  fillFacts(large.querySelector(".facts"), sample);
  const names = shownNames(sample);
  if (!names.includes(view)) view = "";
  const views = ["", ...names].map((name, key) => {
    const button = element("button", "", name ? TITLES[name] : "Side by side");
    button.type = "button";
    button.title = `Key ${key}`;
    button.ariaPressed = String(name === view);
    button.addEventListener("click", () => setView(name));
    return button;
  });
  large.querySelector(".views").replaceChildren(...views);
  fillStage(sample);
}

function setView(name) {
  view = name;
  showLarge(current);
}

function fillStage(sample) {
  const pictures = picturesOf(current);
  const figures = (view ? [view] : COMPARED).map((name) => makeFigure(name, sample));
  stage.replaceChildren(...figures);
  stage.classList.remove("pointed");
  zoomed = false;
  pixels = {};
  large.querySelector(".readout").textContent = "Point at a pixel to read its values; click to zoom.";
  for (const figure of figures) {
    const frame = figure.querySelector(".frame");
    frame.append(element("i"));
    for (const image of frame.querySelectorAll("img")) image.src = pictures[image.dataset.name];
    frame.addEventListener("pointermove", (event) => point(event, frame, sample));
    frame.addEventListener("pointerleave", () => stage.classList.remove("pointed"));
    frame.addEventListener("click", (event) => {
      zoomed = !zoomed;
      point(event, frame, sample);
    });
  }
  for (const name of COMPARED) readPixels(name, pictures[name]);
  fitStage();
}

/* All pictures of the stage at one size, as large as the room allows. */
function fitStage() {
  if (!large.open) return;
  const sample = SAMPLES[current];
  const across = stage.children.length;
  const room = { width: (stage.clientWidth - 8 * (across - 1)) / across, height: stage.clientHeight - 24 };
  const scale = Math.max(0.01, Math.min(room.width / sample.width, room.height / sample.height));
  stage.style.setProperty("--w", `${Math.floor(sample.width * scale)}px`);
  stage.style.setProperty("--h", `${Math.floor(sample.height * scale)}px`);
}

function readPixels(name, address) {
  const image = new Image();
  const shown = current;
  image.addEventListener("load", () => {
    if (shown !== current) return;
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    pixels[name] = context.getImageData(0, 0, canvas.width, canvas.height);
  });
  image.src = address;
}

/* Zoomed pictures turn about the pointer, so the pixel under it is the same at any zoom and in every picture. */
function point(event, frame, sample) {
  const box = frame.getBoundingClientRect();
  const x = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1 - 1e-9);
  const y = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 1 - 1e-9);
  stage.classList.add("pointed");
  for (const other of stage.querySelectorAll(".frame")) {
    other.classList.toggle("zoomed", zoomed);
    other.querySelector("i").style.left = `${100 * x}%`;
    other.querySelector("i").style.top = `${100 * y}%`;
    for (const image of other.querySelectorAll("img")) {
      image.style.transformOrigin = `${100 * x}% ${100 * y}%`;
      image.style.transform = zoomed ? `scale(${ZOOM})` : "";
    }
  }
  large.querySelector(".readout").textContent = readOut(x, y, sample);
}

function colorAt(name, x, y) {
  const image = pixels[name];
  if (!image) return null;
  const at = 4 * (Math.floor(y * image.height) * image.width + Math.floor(x * image.width));
  return [...image.data.subarray(at, at + 3)];
}

const LEVELS = new Map(DATA.depth_colors.map((color, level) => [color.join(), level]));

function readOut(x, y, sample) {
  const texts = [`column ${Math.floor(x * sample.width)}  row ${Math.floor(y * sample.height)}`];
  const rgb = colorAt("rgb", x, y);
  if (rgb) texts.push(`rgb ${rgb.join(" ")}`);
  const level = LEVELS.get(colorAt("depth", x, y)?.join());
  if (level === 0) texts.push("no subject");
  if (level === 255) texts.push("depth is no number");
  if (level > 0 && level < 255) {
    const [nearEnd, farEnd] = sample.depth;
    const sign = level === 254 ? "≤ " : level === 1 ? "≥ " : "";
    texts.push(`z ${sign}${fixed(farEnd + ((nearEnd - farEnd) * (level - 1)) / 253, 3)} m`);
    const [r, g, b] = colorAt("normal", x, y) ?? [];
    if (r !== undefined) texts.push(`n (${[r / 127.5 - 1, 1 - g / 127.5, 1 - b / 127.5].map((c) => signed(c, 2)).join(" ")})`);
  }
  return texts.join("   ");
}

/* ---- keys and buttons ---- */

function step(by) {
  if (!order.length) return;
  const from = order.indexOf(large.open ? current : Number(document.activeElement?.dataset?.i ?? -1));
  const to = order[Math.min(Math.max(from + by, 0), order.length - 1)];
  if (large.open) openLarge(to);
  else CARDS[to].focus();
}

function toggleOutline() {
  const on = document.body.classList.toggle("outlined");
  byId("outline").ariaPressed = String(on);
}

const MOVES = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
const LARGE_MOVES = { ...MOVES, ArrowRight: 1, ArrowLeft: -1 };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.matches("input"))) event.target.blur();
    return;
  }
  const moves = large.open ? LARGE_MOVES : MOVES;
  const digit = /^[0-9]$/.test(event.key) ? Number(event.key) : -1;
  if (event.key in moves) step(moves[event.key]);
  else if (event.key === "o") toggleOutline();
  else if (event.key === "/" && !large.open) byId("filter").focus();
  else if (event.key === "Enter" && document.activeElement.matches(".card")) openLarge(Number(document.activeElement.dataset.i));
  else if (large.open && digit === 0) setView("");
  else if (large.open && digit > 0 && shownNames(SAMPLES[current])[digit - 1]) setView(shownNames(SAMPLES[current])[digit - 1]);
  else return;
  event.preventDefault();
}

fillSelects();
CARDS.forEach((card) => near.observe(card));
byId("filter").addEventListener("input", (event) => writeState({ filter: event.target.value }));
byId("sort").addEventListener("change", (event) => writeState({ sort: event.target.value }));
for (const button of document.querySelectorAll(".sizes button")) button.addEventListener("click", () => writeState({ size: button.dataset.size }));
byId("outline").addEventListener("click", toggleOutline);
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => large.close());
large.addEventListener("close", () => {
  const card = CARDS[current];
  writeState({ open: "" });
  card?.focus();
});
for (const scale of document.querySelectorAll(".scale")) {
  const colors = DATA.depth_colors.slice(1, 255).filter((_, k) => k % 23 === 0).map((c) => `rgb(${c})`);
  scale.style.background = `linear-gradient(to right, ${colors})`;
}
document.addEventListener("keydown", onKey);
addEventListener("hashchange", applyState);
addEventListener("resize", fitStage);
addEventListener("beforeprint", loadAll);
applyState();
report();
