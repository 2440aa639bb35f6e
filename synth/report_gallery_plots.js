/* ---- statistics: how many samples of the page, and of those that match the filter; a bar clicked is a filter ---- */

const BINS = 12;
const PLOTS = [
  { name: "framing", title: "Framing" },
  { name: "split", title: "Split" },
  { name: "flag", title: "Flags" },
  { name: "yaw", title: "Yaw, °", range: [0, 360] },
  { name: "pitch", title: "Pitch, °" },
  { name: "distance", title: "Distance, m" },
  { name: "share", title: "Subject, % of the picture", times: 100 },
  { name: "focal", title: "Focal length, mm" },
  { name: "seconds", title: "Seconds a sample" },
];
const WIDE = 260, HIGH = 120, FOOT = 16, ROW = 20, MOST_ROWS = 6;

function svg(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/* A step of 1, 2 or 5 times a power of ten that makes about BINS of a length. */
function niceStep(length) {
  const rough = Math.max(length, 1e-6) / BINS;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((k) => k * power >= rough * 0.999);
}

/* The edges of equal bins over all finite values of a column. */
function edgesOf(plot) {
  if (plot.range) return Array.from({ length: BINS + 1 }, (_, k) => plot.range[0] + ((plot.range[1] - plot.range[0]) * k) / BINS);
  let low = Infinity, high = -Infinity;
  for (const x of COLUMNS[plot.name].at) if (x !== null) [low, high] = [Math.min(low, x), Math.max(high, x)];
  if (low > high) return [0, 1];
  const step = niceStep(high - low);
  const first = Math.floor(low / step);
  const count = Math.max(1, Math.floor(high / step) - first + 1);
  return Array.from({ length: count + 1 }, (_, k) => Number(((first + k) * step).toPrecision(10)));
}

/* Samples in each bin, or of each name; list: numbers of samples. */
function tally(plot, list) {
  const { words, at } = COLUMNS[plot.name];
  const found = new Array(words ? words.length : plot.edges.length - 1).fill(0);
  const [low, high] = words ? [] : [plot.edges[0], plot.edges.at(-1)];
  for (const i of list) {
    if (words) for (const k of [at[i]].flat()) found[k] += 1;
    else if (at[i] !== null) found[Math.min(found.length - 1, Math.floor(((at[i] - low) / (high - low)) * found.length + 1e-9))] += 1;
  }
  return found;
}

function drawPlots(filter) {
  if (!byId("plots").open) return;
  const all = [...SAMPLES.keys()];
  byId("plots").querySelector("div").replaceChildren(...PLOTS.map((plot) => {
    if (!COLUMNS[plot.name].words) plot.edges ??= edgesOf(plot);
    plot.all ??= tally(plot, all);
    const figure = element("figure");
    const drawing = COLUMNS[plot.name].words ? drawNames(plot, filter) : drawNumbers(plot, filter);
    figure.append(element("figcaption", "", plot.title), drawing);
    return figure;
  }));
}

/* A bar with what matches inside of all; box(share) gives the rectangle of a share of the largest. */
function bar(plot, k, now, value, label, filter, box) {
  const most = Math.max(1, ...plot.all);
  const group = svg("g", { class: chosenOf(filter, plot.name) === value ? "column chosen" : "column" });
  group.append(svg("title", {}, `${label}: ${grouped(now[k])} of ${grouped(plot.all[k])}`), svg("rect", { class: "touch", ...box(1) }));
  group.append(svg("rect", { class: "all", ...box(plot.all[k] / most) }), svg("rect", { class: "now", ...box(now[k] / most) }));
  group.addEventListener("click", () => choose(plot.name, chosenOf(readState().filter, plot.name) === value ? "" : value));
  return group;
}

function drawNumbers(plot, filter) {
  const now = tally(plot, order);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": plot.title });
  const width = WIDE / now.length;
  const shown = (x) => String(Number((x * (plot.times ?? 1)).toPrecision(4))).replace("-", "−");
  now.forEach((_, k) => {
    const [from, to] = [plot.edges[k], plot.edges[k + 1]];
    const box = (share) => ({ x: k * width + 0.5, width: width - 1, y: (HIGH - FOOT) * (1 - share), height: (HIGH - FOOT) * share });
    drawing.append(bar(plot, k, now, `${from}..${to}`, `${shown(from)} to ${shown(to)}`, filter, box));
  });
  const middle = Math.floor(now.length / 2);
  const marks = [[0, "start"], [middle, "middle"], [now.length, "end"]].filter(([k], n) => n !== 1 || (k > 0 && now.length > 3));
  for (const [k, anchor] of marks) drawing.append(svg("text", { x: k * width, y: HIGH - 3, "text-anchor": anchor }, shown(plot.edges[k])));
  return drawing;
}

function drawNames(plot, filter) {
  const now = tally(plot, order);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": plot.title });
  const { words } = COLUMNS[plot.name];
  const largest = words.map((_, k) => k).sort((a, b) => plot.all[b] - plot.all[a] || a - b).slice(0, MOST_ROWS);
  largest.forEach((k, row) => {
    const box = (share) => ({ x: 0, width: WIDE * share, y: row * ROW + 1, height: ROW - 3 });
    const name = svg("text", { x: 4, y: row * ROW + 13.5 }, words[k].slice(0, 26).replaceAll("_", " "));
    const count = svg("text", { x: WIDE - 4, y: row * ROW + 13.5, "text-anchor": "end" }, grouped(now[k]));
    const group = bar(plot, k, now, words[k].replaceAll('"', ""), words[k], filter, box);
    group.append(name, count);
    drawing.append(group);
  });
  if (!words.length) drawing.append(svg("text", { x: 4, y: 14 }, "none"));
  return drawing;
}
