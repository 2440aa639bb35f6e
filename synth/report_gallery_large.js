/* ---- one sample large ---- */

const large = byId("large");
const stage = large.querySelector(".stage");
let current = -1;
let view = "";
let zoomed = false;
let pixels = {};

const openLarge = (i) => writeState({ open: SAMPLES[i].id, page: pageOf(i) });

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
  const names = [...shownNames(sample), "cloud"];
  if (!names.includes(view)) view = "";
  const views = ["", ...names].map((name, key) => {
    const button = element("button", "", name === "cloud" ? "Points" : name ? TITLES[name] : "Side by side");
    button.type = "button";
    button.title = `Key ${name === "cloud" ? "c" : key}`;
    button.ariaPressed = String(name === view);
    button.addEventListener("click", () => setView(name));
    return button;
  });
  large.querySelector(".views").replaceChildren(...views);
  fillStage(i);
}

function setView(name) {
  view = name;
  showLarge(current);
}

/* Frames at once, pictures when they are there: from a folder they take a moment. */
async function fillStage(i) {
  const sample = SAMPLES[i];
  const figures = view === "cloud" ? [] : (view ? [view] : COMPARED).map((name) => makeFigure(name, sample));
  stage.replaceChildren(...figures);
  stage.classList.remove("pointed");
  zoomed = false;
  pixels = {};
  cloud = null;
  large.querySelector(".readout").textContent = "Point at a pixel to read its values; click to zoom.";
  for (const figure of figures) makeReadable(figure.querySelector(".frame"), sample);
  fitStage();
  let pictures;
  try {
    pictures = await picturesOf(i);
  } catch {
    if (current === i) large.querySelector(".readout").textContent = `The pictures of ${sample.id} are missing: keep ${DATA.folder} beside the page.`;
    return;
  }
  if (current !== i) return;
  if (view === "cloud") return showCloud(i, pictures);
  for (const image of figures.flatMap((figure) => [...figure.querySelectorAll("img")])) image.src = pictures[image.dataset.name];
  for (const name of COMPARED) decodePixels(pictures[name]).then((image) => current === i && (pixels[name] = image));
}

function makeReadable(frame, sample) {
  frame.append(element("i"));
  frame.addEventListener("pointermove", (event) => point(event, frame, sample));
  frame.addEventListener("pointerleave", () => stage.classList.remove("pointed"));
  frame.addEventListener("click", (event) => {
    zoomed = !zoomed;
    point(event, frame, sample);
  });
}

/* All pictures of the stage at one size, as large as the room allows. */
function fitStage() {
  if (!large.open) return;
  if (view === "cloud") return drawCloud();
  const sample = SAMPLES[current];
  const across = stage.children.length;
  const room = { width: (stage.clientWidth - 8 * (across - 1)) / across, height: stage.clientHeight - 24 };
  const scale = Math.max(0.01, Math.min(room.width / sample.width, room.height / sample.height));
  stage.style.setProperty("--w", `${Math.floor(sample.width * scale)}px`);
  stage.style.setProperty("--h", `${Math.floor(sample.height * scale)}px`);
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
