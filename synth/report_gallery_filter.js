/* ---- filter and sort ---- */

/* "scan:ann -flag:truncated distance<2 yaw=30..60 park" -> tests of a sample's number that must all hold; null where a
   term means nothing. */
function parseFilter(text) {
  const tests = [];
  for (const [, not, name, sign, quoted, bare] of text.matchAll(/(-?)(?:([a-z]+)([:=<>]))?(?:"([^"]*)"?|(\S+))/gi)) {
    const value = (quoted ?? bare).toLowerCase();
    const test = termTest(name?.toLowerCase(), sign, value);
    if (!test) return null;
    tests.push(not ? (i) => !test(i) : test);
  }
  return tests;
}

function termTest(name, sign, value) {
  if (!name) {
    const tests = WORDS.map((word) => wordTest(word, (x) => x.includes(value)));
    if (/^\d+$/.test(value)) tests.push((i) => SAMPLES[i].id.includes(value));
    return (i) => tests.some((test) => test(i));
  }
  if (NUMBERS.includes(name)) return numberTest(COLUMNS[name].at, sign, value);
  if (name === "id") return sign === "=" ? (i) => SAMPLES[i].id === value : (i) => SAMPLES[i].id.includes(value);
  if (!WORDS.includes(name) || sign === "<" || sign === ">") return null;
  return wordTest(name, sign === "=" ? (x) => x === value : (x) => x.includes(value));
}

/* Every name is tested once, not every sample. */
function wordTest(name, holds) {
  const { words, at } = COLUMNS[name];
  const good = words.map((word) => holds(word.toLowerCase()));
  return (i) => (Array.isArray(at[i]) ? at[i].some((k) => good[k]) : good[at[i]]);
}

/* "30..60" holds 30 and not 60, so that neighbouring ranges share nothing. */
function numberTest(at, sign, value) {
  const range = value.match(/^(.+?)\.\.(.+)$/);
  const [low, high] = range ? [Number(range[1]), Number(range[2])] : [Number(value), Number(value)];
  if (Number.isNaN(low) || Number.isNaN(high) || (range && sign !== "=" && sign !== ":")) return null;
  if (range) return (i) => at[i] !== null && at[i] >= low && at[i] < high;
  if (sign === "<") return (i) => at[i] !== null && at[i] < low;
  if (sign === ">") return (i) => at[i] !== null && at[i] > low;
  return (i) => at[i] === low;
}

const quote = (value) => (/[\s"]/.test(value) ? `"${value.replaceAll('"', "")}"` : value);
const termOf = (name) => new RegExp(`(^|\\s)${name}=(?:"([^"]*)"|(\\S+))`);

/* The value of "name=value" in the filter, or "". */
function chosenOf(filter, name) {
  const found = filter.match(termOf(name));
  return found ? (found[2] ?? found[3]) : "";
}

/* Sets "name=value" in the filter; "" takes it away. */
function choose(name, value) {
  const rest = readState().filter.replace(new RegExp(termOf(name), "g"), " ").replace(/\s+/g, " ").trim();
  writeState({ filter: `${rest} ${value ? `${name}=${quote(value)}` : ""}`.trim(), page: 0 });
}

let order = []; // numbers of the samples that match, in the order they are shown
let ordered = null; // what of the state that order belongs to

function applyFilter(state) {
  const asked = JSON.stringify([state.filter, state.sort, state.reverse]);
  if (asked === ordered) return;
  ordered = asked;
  const tests = parseFilter(state.filter);
  byId("filter").classList.toggle("wrong", tests === null);
  order = [];
  for (let i = 0; i < SAMPLES.length; i++) if ((tests ?? []).every((test) => test(i))) order.push(i);
  const at = COLUMNS[state.sort].at;
  order.sort((a, b) => compare(at[a], at[b]) || a - b);
  if (state.reverse) order.reverse();
  byId("nothing").hidden = order.length > 0;
  byId("count").textContent = order.length === SAMPLES.length ? grouped(order.length) : `${grouped(order.length)} of ${grouped(SAMPLES.length)}`;
  document.body.dataset.matching = order.length;
  for (const list of LISTS) {
    const select = byId(`by-${list}`);
    select.value = chosenOf(state.filter, list);
    select.classList.toggle("on", Boolean(select.value));
  }
  drawPlots(state.filter);
}

const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");

/* Names are sorted in their column, so their numbers compare as they do. */
function compare(a, b) {
  const [x, y] = [a, b].map((value) => (Array.isArray(value) ? value[0] : value) ?? Infinity);
  return x - y || 0;
}

function fillSelects() {
  for (const list of LISTS) {
    const { words, at } = COLUMNS[list];
    const found = new Array(words.length).fill(0);
    for (const each of at) for (const k of new Set([each].flat())) found[k] += 1;
    const all = new Option(`${list[0].toUpperCase()}${list.slice(1)}: all`, "");
    byId(`by-${list}`).replaceChildren(all, ...words.map((word, k) => new Option(`${word} (${grouped(found[k])})`, word.replaceAll('"', ""))));
    byId(`by-${list}`).addEventListener("change", (event) => choose(list, event.target.value));
  }
}

/* ---- pages ---- */

const PAGE = 60;
const lastPage = () => Math.max(0, Math.ceil(order.length / PAGE) - 1);
const pageOf = (i) => Math.max(0, Math.floor(order.indexOf(i) / PAGE));

function showPage(page) {
  const first = Math.min(Math.max(page, 0), lastPage()) * PAGE;
  showCards(order.slice(first, first + PAGE));
  byId("pager").hidden = order.length <= PAGE;
  byId("page-at").textContent = `${grouped(first + 1)} – ${grouped(Math.min(first + PAGE, order.length))}`;
  byId("page-back").disabled = first === 0;
  byId("page-on").disabled = first + PAGE >= order.length;
}

function turnPage(by) {
  const page = Math.min(Math.max(readState().page + by, 0), lastPage());
  if (page === readState().page) return;
  writeState({ page });
  scrollTo(0, Math.min(scrollY, byId("cards").offsetTop - document.querySelector("nav").offsetHeight));
}

/* ---- state in the address ---- */

const DEFAULTS = { filter: "", sort: "index", reverse: "", size: DATA.folder ? "s" : "m", page: 0, open: "", all: "" };

function readState() {
  const found = new URLSearchParams(location.hash.slice(1));
  const state = Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, found.get(name) ?? value]));
  if (![...byId("sort").options].some((option) => option.value === state.sort)) state.sort = DEFAULTS.sort;
  return { ...state, page: Math.max(0, Math.floor(Number(state.page)) || 0) };
}

function writeState(change) {
  const state = { ...readState(), ...change };
  const kept = Object.entries(state).filter(([name, value]) => value && value !== DEFAULTS[name]);
  location.replace(`#${new URLSearchParams(kept)}`);
  applyState(); // now: the next key may come before the browser tells of the change
}

let applied = null;

function applyState() {
  if (location.hash === applied) return;
  applied = location.hash;
  const state = readState();
  if (byId("filter").value !== state.filter) byId("filter").value = state.filter;
  byId("sort").value = state.sort;
  byId("reverse").ariaPressed = String(Boolean(state.reverse));
  for (const size of ["s", "m", "l"]) document.body.classList.toggle(`size-${size}`, size === state.size);
  for (const button of document.querySelectorAll(".sizes button")) button.ariaPressed = String(button.dataset.size === state.size);
  applyFilter(state);
  if (state.all) everything = true;
  showPage(state.page);
  showLarge(state.open ? (NUMBER_OF.get(Number(state.open)) ?? -1) : -1);
}
