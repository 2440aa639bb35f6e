/* ---- keys and buttons ---- */

function step(by) {
  if (!order.length) return;
  const from = order.indexOf(large.open ? current : Number(document.activeElement?.dataset?.i ?? -1));
  const at = from < 0 ? Math.min(readState().page, lastPage()) * PAGE : from + by; // from nowhere to the page's first
  const to = order[Math.min(Math.max(at, 0), order.length - 1)];
  if (large.open) return openLarge(to);
  if (!cards.has(to)) writeState({ page: pageOf(to) });
  cards.get(to).focus();
}

function toggleOutline() {
  const on = document.body.classList.toggle("outlined");
  byId("outline").ariaPressed = String(on);
}

const reverse = () => writeState({ reverse: readState().reverse ? "" : "1", page: 0 });
const togglePlots = () => (byId("plots").open = !byId("plots").open);

const MOVES = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
const LARGE_MOVES = { ...MOVES, ArrowRight: 1, ArrowLeft: -1 };
const TURNS = { ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
const ZOOMS = { "+": 1.25, "=": 1.25, "-": 0.8 };
const PLAIN = { o: toggleOutline, "?": () => byId("help").showModal() };
const LIST_KEYS = { n: () => turnPage(1), p: () => turnPage(-1), r: reverse, s: togglePlots, "/": () => byId("filter").focus() };

/* Does what a key asks for; false where it asks for nothing. */
function obey(event) {
  const { key } = event;
  if (key in PLAIN) return PLAIN[key]();
  if (large.open && view === "cloud" && event.shiftKey && key in TURNS) return turnCloud(...TURNS[key], 1);
  if (large.open && view === "cloud" && key in ZOOMS) return turnCloud(0, 0, ZOOMS[key]);
  const moves = large.open ? LARGE_MOVES : MOVES;
  if (key in moves) return step(moves[key]);
  if (!large.open) {
    if (key in LIST_KEYS) return LIST_KEYS[key]();
    if (key === "Enter" && document.activeElement.matches(".card")) return openLarge(Number(document.activeElement.dataset.i));
    return false;
  }
  if (key === "c") return setView("cloud");
  if (key === "0") return setView("");
  const name = /^[1-9]$/.test(key) && shownNames(SAMPLES[current])[Number(key) - 1];
  return name ? setView(name) : false;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.matches("input"))) event.target.blur();
    return;
  }
  if (obey(event) !== false) event.preventDefault();
}

fillSelects();
byId("outline").hidden = Boolean(DATA.folder); // thumbnails have none
byId("filter").addEventListener("input", (event) => writeState({ filter: event.target.value, page: 0 }));
byId("sort").addEventListener("change", (event) => writeState({ sort: event.target.value, page: 0 }));
for (const button of document.querySelectorAll(".sizes button")) button.addEventListener("click", () => writeState({ size: button.dataset.size }));
byId("plots").addEventListener("toggle", () => drawPlots(readState().filter));
for (const [id, act] of Object.entries({
  outline: toggleOutline, reverse, keys: PLAIN["?"], "help-close": () => byId("help").close(),
  "page-back": () => turnPage(-1), "page-on": () => turnPage(1),
  previous: () => step(-1), next: () => step(1), close: () => large.close(),
})) byId(id).addEventListener("click", act);
large.addEventListener("close", () => {
  writeState({ open: "" });
  cards.get(current)?.focus();
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
