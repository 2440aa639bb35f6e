/* ---- filter and sort ---- */

/* "scan:ann -flag:truncated distance<2 park" -> tests that must all hold; null where a term means nothing. */
function parseFilter(text) {
  const tests = [];
  for (const [, not, name, sign, quoted, bare] of text.matchAll(/(-?)(?:([a-z]+)([:=<>]))?(?:"([^"]*)"?|(\S+))/gi)) {
    const value = (quoted ?? bare).toLowerCase();
    const test = termTest(name?.toLowerCase(), sign, value);
    if (!test) return null;
    tests.push((s) => test(s) !== Boolean(not));
  }
  return tests;
}

function termTest(name, sign, value) {
  if (!name) return (s) => WORDS.some((word) => contains(s[word], value));
  if (NUMBERS.includes(name)) return numberTest(name, sign, Number(value));
  if (!WORDS.includes(name) || sign === "<" || sign === ">") return null;
  return sign === "=" ? (s) => [s[name]].flat().some((x) => x.toLowerCase() === value) : (s) => contains(s[name], value);
}

function numberTest(name, sign, value) {
  if (Number.isNaN(value)) return null;
  if (sign === "<") return (s) => s[name] !== null && s[name] < value;
  if (sign === ">") return (s) => s[name] !== null && s[name] > value;
  return (s) => s[name] === value;
}

const contains = (field, value) => [field].flat().some((x) => x.toLowerCase().includes(value));
const quote = (value) => (/[\s"]/.test(value) ? `"${value.replaceAll('"', "")}"` : value);

let order = [];

function applyFilter() {
  const state = readState();
  const tests = parseFilter(state.filter);
  const before = order;
  byId("filter").classList.toggle("wrong", tests === null);
  const matching = SAMPLES.map((_, i) => i).filter((i) => (tests ?? []).every((test) => test(SAMPLES[i])));
  order = matching.sort((a, b) => compare(SAMPLES[a][state.sort], SAMPLES[b][state.sort]) || a - b);
  if (order.join() !== before.join()) byId("cards").replaceChildren(...order.map((i) => CARDS[i]));
  byId("nothing").hidden = order.length > 0;
  byId("count").textContent = order.length === SAMPLES.length ? `${order.length}` : `${order.length} of ${SAMPLES.length}`;
  document.body.dataset.matching = order.length;
  for (const list of LISTS) {
    const chosen = state.filter.match(new RegExp(`(?:^|\\s)${list}=(?:"([^"]*)"|(\\S+))`));
    const select = byId(`by-${list}`);
    select.value = chosen ? (chosen[1] ?? chosen[2]) : "";
    select.classList.toggle("on", Boolean(chosen));
  }
}

function compare(a, b) {
  if (typeof a === "number" || typeof b === "number") return (a ?? Infinity) - (b ?? Infinity) || 0;
  return String(a).localeCompare(String(b));
}

function fillSelects() {
  for (const list of LISTS) {
    const found = new Map();
    for (const s of SAMPLES) for (const value of new Set([s[list]].flat())) found.set(value, (found.get(value) ?? 0) + 1);
    const all = new Option(`${list[0].toUpperCase()}${list.slice(1)}: all`, "");
    const some = [...found].sort(([a], [b]) => a.localeCompare(b)).map(([value, n]) => new Option(`${value} (${n})`, value.replaceAll('"', "")));
    byId(`by-${list}`).replaceChildren(all, ...some);
    byId(`by-${list}`).addEventListener("change", (event) => chooseFrom(list, event.target.value));
  }
}

function chooseFrom(list, value) {
  const rest = readState().filter.replace(new RegExp(`(^|\\s)${list}=(?:"[^"]*"|\\S+)`, "g"), " ").trim();
  writeState({ filter: `${rest} ${value ? `${list}=${quote(value)}` : ""}`.trim() });
}

/* ---- state in the address ---- */

function readState() {
  const found = new URLSearchParams(location.hash.slice(1));
  const sort = found.get("sort") ?? "index";
  return {
    filter: found.get("filter") ?? "",
    sort: [...byId("sort").options].some((o) => o.value === sort) ? sort : "index",
    size: found.get("size") ?? "m",
    open: found.get("open") ?? "",
    all: found.get("all") ?? "",
  };
}

const DEFAULTS = { sort: "index", size: "m" };

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
  for (const size of ["s", "m", "l"]) document.body.classList.toggle(`size-${size}`, size === state.size);
  for (const button of document.querySelectorAll(".sizes button")) button.ariaPressed = String(button.dataset.size === state.size);
  applyFilter();
  if (state.all) loadAll();
  showLarge(SAMPLES.findIndex((s) => s.id === state.open));
}
