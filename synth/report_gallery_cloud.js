/* ---- the subject as coloured points, turned with the pointer; drawn by hand, so that no graphics card is needed ---- */

const FOV = 1.25; // focal length over the smaller side of the canvas
let cloud = null; // of the sample on the stage: {points, colors, reach, spacing, home, turn, canvas}

/* The page's own decoder: pixels of a picture that lies inside the page. */
async function decodePixels(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/* Points of a sample: metres, in the camera's place but level: x right, y up, z away. From the 16 bits of the cloud
   picture, each the pixel of the sample nearest to it. */
function makePoints(sample, codes, rgb) {
  const [nearEnd, farEnd] = sample.reach ?? [0, 0];
  const level = levelAxes(sample);
  const points = [], colors = [];
  for (let row = 0; row < codes.height; row++) {
    for (let column = 0; column < codes.width; column++) {
      const at = 4 * (row * codes.width + column);
      if (codes.data[at + 2] === 0) continue;
      const z = nearEnd + ((farEnd - nearEnd) * (256 * codes.data[at] + codes.data[at + 1])) / 65535;
      const u = Math.floor(((column + 0.5) * sample.width) / codes.width) + 0.5;
      const v = Math.floor(((row + 0.5) * sample.height) / codes.height) + 0.5;
      const seen = [((u - sample.center[0]) / sample.focal_px) * z, ((v - sample.center[1]) / sample.focal_px) * z, z];
      for (const axis of level) points.push(axis[0] * seen[0] + axis[1] * seen[1] + axis[2] * seen[2]);
      const from = 4 * (Math.floor((v / sample.height) * rgb.height) * rgb.width + Math.floor((u / sample.width) * rgb.width));
      colors.push(rgb.data[from], rgb.data[from + 1], rgb.data[from + 2]);
    }
  }
  return { points: Float32Array.from(points), colors: Uint8Array.from(colors) };
}

/* Right, up and away of a level observer, in the camera's frame (x right, y down, z forward). */
function levelAxes(sample) {
  const p = (sample.pitch * Math.PI) / 180, r = (sample.roll * Math.PI) / 180;
  const up = [-Math.cos(p) * Math.sin(r), -Math.cos(p) * Math.cos(r), -Math.sin(p)];
  const length = Math.max(Math.hypot(up[0], up[1]), 1e-6);
  const away = [-up[2] * up[0], -up[2] * up[1], 1 - up[2] * up[2]].map((x) => x / length);
  const right = [away[1] * up[2] - away[2] * up[1], away[2] * up[0] - away[0] * up[2], away[0] * up[1] - away[1] * up[0]];
  return [right, up, away];
}

/* Moves the middle of the points to 0; returns the radius that holds nearly all. */
function centre(points) {
  const count = points.length / 3;
  if (!count) return 1;
  for (let axis = 0; axis < 3; axis++) {
    let low = Infinity, high = -Infinity;
    for (let k = axis; k < points.length; k += 3) [low, high] = [Math.min(low, points[k]), Math.max(high, points[k])];
    for (let k = axis; k < points.length; k += 3) points[k] -= (low + high) / 2;
  }
  const radii = Float32Array.from({ length: count }, (_, k) => Math.hypot(points[3 * k], points[3 * k + 1], points[3 * k + 2])).sort();
  return Math.max(radii[Math.floor(0.995 * (count - 1))], 1e-3);
}

async function showCloud(i, pictures) {
  const sample = SAMPLES[i];
  const canvas = element("canvas", "cloud");
  const figure = element("figure");
  canvas.tabIndex = -1;
  figure.append(canvas);
  stage.replaceChildren(figure);
  cloud = null;
  const [codes, rgb] = await Promise.all([decodePixels(pictures.cloud), decodePixels(pictures.rgb)]);
  if (current !== i || view !== "cloud") return;
  const { points, colors } = makePoints(sample, codes, rgb);
  const spacing = sample.height / codes.height / sample.focal_px; // metres between points, a metre away
  const distance = sample.reach ? (sample.reach[0] + sample.reach[1]) / 2 : 1;
  const home = { yaw: 0, pitch: (sample.pitch * Math.PI) / 180, zoom: 1 }; // as the camera saw it, but level
  cloud = { points, colors, reach: centre(points), spacing: spacing * distance, home, turn: { ...home }, canvas };
  large.querySelector(".readout").textContent = points.length ? `${grouped(points.length / 3)} points of depth. Drag to turn, wheel to zoom, double click to reset.` : "No depth: no points.";
  listenToPointer(canvas);
  drawCloud();
}

function listenToPointer(canvas) {
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => event.buttons && turnCloud(-event.movementX / 150, event.movementY / 150, 1));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    turnCloud(0, 0, Math.exp(-event.deltaY / 600));
  }, { passive: false });
  canvas.addEventListener("dblclick", () => {
    if (cloud) Object.assign(cloud.turn, cloud.home);
    drawCloud();
  });
}

function turnCloud(yaw, pitch, zoom) {
  if (!cloud) return;
  cloud.turn.yaw += yaw;
  cloud.turn.pitch = Math.min(Math.max(cloud.turn.pitch + pitch, -1.57), 1.57);
  cloud.turn.zoom = Math.min(Math.max(cloud.turn.zoom * zoom, 0.3), 20);
  drawCloud();
}

/* Nearest point wins a pixel; a point is a square as wide as its neighbours are apart. */
function drawCloud() {
  if (!cloud) return;
  const { points, colors, canvas, turn } = cloud;
  const ratio = Math.min(devicePixelRatio, 2);
  canvas.width = Math.max(1, Math.floor(stage.clientWidth * ratio));
  canvas.height = Math.max(1, Math.floor((stage.clientHeight - 4) * ratio));
  canvas.style.width = `${canvas.width / ratio}px`;
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const packed = new Uint32Array(image.data.buffer); // little endian, as every browser's machine is
  const nearest = new Float32Array(width * height).fill(Infinity);
  const focal = FOV * Math.min(width, height) * turn.zoom;
  const away = 1.15 * FOV * 2 * cloud.reach;
  const [cy, sy, cp, sp] = [Math.cos(turn.yaw), Math.sin(turn.yaw), Math.cos(turn.pitch), Math.sin(turn.pitch)];
  for (let k = 0; k < points.length; k += 3) {
    const [x, y, z] = [points[k], points[k + 1], points[k + 2]];
    const turned = -sy * x + cy * z;
    const depth = cp * turned - sp * y + away;
    if (depth < 0.05) continue;
    const scale = focal / depth;
    const size = Math.min(Math.max(Math.ceil(cloud.spacing * scale * 1.15), 1), 24);
    const left = Math.floor(width / 2 + (cy * x + sy * z) * scale - size / 2);
    const top = Math.floor(height / 2 - (cp * y + sp * turned) * scale - size / 2);
    const color = 0xff000000 | (colors[k + 2] << 16) | (colors[k + 1] << 8) | colors[k];
    for (let row = Math.max(top, 0); row < Math.min(top + size, height); row++) {
      for (let at = row * width + Math.max(left, 0); at < row * width + Math.min(left + size, width); at++) {
        if (depth >= nearest[at]) continue;
        nearest[at] = depth;
        packed[at] = color;
      }
    }
  }
  context.putImageData(image, 0, 0);
}
