// The page: shows the frames that the server draws, acknowledges each, and says where the camera is.
"use strict";

const $ = (id) => document.getElementById(id);
// Text that is the same must not be set again: beside an optimization each repaint costs iterations.
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
// PROTOCOL is that of protocol.py: the server makes page.constants.js of it.
const stage = $("stage"), picture = $("picture"), overlay = $("overlay");

let socket = null, greeted = false, up = "y", home = null, retry = 500;
let pose = null; // {target, yaw, pitch, distance, fov}
let wanted = null, legends = {}; // the chosen channel; how to read each
let views = [], thumbnails = null, hovered = -1, running = false, paused = false, losses = [];
// Counters that tests and benchmarks read.
const stats = { frames: 0, frame: 0, full: false, delays: [], times: [], connected: false, iteration: -1 };
window.viewer = { stats, get pose() { return pose; }, set pose(p) { pose = p; sendCamera(); } };

// --- Connection -----------------------------------------------------------------------------------------------------

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { retry = 500; };
  socket.onmessage = (e) => (typeof e.data === "string" ? told(JSON.parse(e.data)) : received(e.data));
  socket.onclose = () => {
    stats.connected = greeted = false;
    say("The server is gone. This page connects again when it is back.");
    setTimeout(connect, retry);
    retry = Math.min(2 * retry, 4000);
  };
}

function send(message) {
  if (greeted && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

let bannerTimer = 0;
function say(text, seconds = 0, note = false) {
  clearTimeout(bannerTimer);
  $("banner").textContent = text;
  $("banner").className = note ? "note" : "";
  $("banner").hidden = !text;
  if (seconds) bannerTimer = setTimeout(() => say(""), 1000 * seconds);
}

const HEARD = {
  hello(m) {
    greeted = stats.connected = true;
    up = m.up; home = m.home; pose = m.pose;
    say("");
    if (!wanted) { // the first time: what the page before looked at
      wanted = m.options.channel;
      for (const name of PROTOCOL.controls) setControl($(name), m.options[name]);
    }
    $("fov").value = pose.fov;
    showOutputs();
    losses = [];
    resize();
    sendOptions();
  },
  state(m) {
    put($("triangles"), m.triangles ? `${m.triangles.toLocaleString("en")} triangles` : "");
    if (m.views) setViews(m.views);
    setChannels(m.channels);
    running = m.running;
    $("training").hidden = !running;
    if (running) training(m);
  },
  losses(m) { losses = m.reset ? m.points : losses.concat(m.points); plot(); },
  error(m) { say(m.text, 8); $("turntable").disabled = false; },
};
function told(m) { HEARD[m.type]?.(m); }

// --- Frames -----------------------------------------------------------------------------------------------------------

let shown = 0;
async function received(buffer) {
  const view = new DataView(buffer), data = new Uint8Array(buffer, PROTOCOL.header);
  const head = Object.fromEntries(Object.entries(PROTOCOL.fields).map(([name, [get, at]]) => [name, view[get](at, true)]));
  if (head.kind === PROTOCOL.thumbnails) {
    thumbnails = { side: head.flags, image: await createImageBitmap(new Blob([data])) };
    return drawOverlay();
  }
  if (head.kind !== PROTOCOL.frame) return download(data, ...PROTOCOL.files[head.kind]);
  while (document.hidden) await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true })); // no more come
  const image = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
  if (head.frame > shown || !stats.connected) {
    if (picture.width !== image.width || picture.height !== image.height) { picture.width = image.width; picture.height = image.height; }
    picture.getContext("2d", { alpha: false }).drawImage(image, 0, 0);
    shown = head.frame;
    note(head, image);
  }
  image.close();
  send({ type: "ack", frame: head.frame });
}

let lastStamp = 0;
function note({ frame, stamp, flags }, image) {
  const now = performance.now();
  stats.frames += 1; stats.frame = frame; stats.full = (flags & PROTOCOL.full) !== 0;
  stats.times.push(now);
  if (stats.times.length > 600) stats.times.splice(0, 300);
  if (stamp > lastStamp) { stats.delays.push(now - stamp); lastStamp = stamp; } // the first picture of an input
  if (stats.delays.length > 600) stats.delays.splice(0, 300);
  put($("size"), `${image.width} × ${image.height}`);
}

setInterval(() => {
  const since = performance.now() - 1000, count = stats.times.filter((t) => t > since).length;
  const delays = stats.delays.slice(-15).sort((a, b) => a - b);
  put($("rate"), count > 1 ? `${count} frames/s` : "");
  put($("delay"), count > 1 && delays.length ? `${Math.round(delays[delays.length >> 1])} ms` : "");
}, 500);

function download(bytes, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  stats.downloaded = { name, size: bytes.length };
  $("turntable").disabled = false;
  say(`Saved ${name}`, 3, true);
}

function resize() {
  const ratio = window.devicePixelRatio || 1, box = stage.getBoundingClientRect();
  send({ type: "size", width: Math.max(16, Math.round(box.width * ratio)), height: Math.max(16, Math.round(box.height * ratio)) });
  overlay.width = box.width * ratio; overlay.height = box.height * ratio;
  drawOverlay(); plot();
}
new ResizeObserver(resize).observe(stage);

// --- Camera -----------------------------------------------------------------------------------------------------------

const within = (x, low, high) => Math.min(Math.max(x, low), high);

function sendCamera() {
  pose.pitch = within(pose.pitch, -PROTOCOL.upright, PROTOCOL.upright);
  if (Number($("view").value) >= 0) {
    $("view").value = -1;
    if (wanted === "error") { wanted = "shaded"; $("channel").value = wanted; }
    showOutputs(); sendOptions();
  }
  send({ type: "camera", stamp: performance.now(), ...pose });
  drawOverlay();
}

// Camera axes in the world: to the eye, right, and up. As `Pose.camera` of orbit.py has them.
function axes() {
  const flat = Math.cos(pose.pitch), side = flat * Math.sin(pose.yaw), front = flat * Math.cos(pose.yaw), high = Math.sin(pose.pitch);
  const back = up === "y" ? [side, high, front] : [side, -front, high];
  const c = Math.cos(pose.yaw), s = Math.sin(pose.yaw);
  const right = up === "y" ? [c, 0, -s] : [c, s, 0];
  return { back, right, top: cross(back, right) };
}
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const plus = (a, b, t) => a.map((x, i) => x + t * b[i]);
const eye = () => plus(pose.target, axes().back, pose.distance);
const mode = () => document.querySelector("input[name=mode]:checked").value;

function turn(dx, dy) {
  const before = eye();
  pose.yaw -= dx; pose.pitch = within(pose.pitch + dy, -PROTOCOL.upright, PROTOCOL.upright);
  if (mode() === "fly") pose.target = plus(before, axes().back, -pose.distance); // the eye stays, the view turns
  sendCamera();
}

function pan(dx, dy) {
  const { right, top } = axes();
  const unit = (2 * pose.distance * Math.tan((pose.fov * Math.PI) / 360)) / stage.clientHeight;
  pose.target = plus(plus(pose.target, right, -dx * unit), top, dy * unit);
  sendCamera();
}

function zoom(amount) {
  pose.distance = within(pose.distance * Math.exp(amount), ...PROTOCOL.distances);
  sendCamera();
}

const pointers = new Map();
let pressed = null; // where a click may begin
stage.addEventListener("pointerdown", (e) => {
  if (!pose) return;
  stage.setPointerCapture(e.pointerId);
  stage.classList.add("dragging");
  pointers.set(e.pointerId, [e.clientX, e.clientY]);
  pressed = pointers.size === 1 ? [e.clientX, e.clientY] : null;
  stage.focus({ preventScroll: true });
});
stage.addEventListener("pointermove", (e) => {
  const last = pointers.get(e.pointerId);
  if (!last) return hover(cameraAt(e));
  if (pressed) {
    if (Math.hypot(e.clientX - pressed[0], e.clientY - pressed[1]) < 4) return; // still a click
    pressed = null;
  }
  const dx = e.clientX - last[0], dy = e.clientY - last[1];
  if (pointers.size === 2) {
    const [a, b] = [...pointers.values()], gap = Math.hypot(a[0] - b[0], a[1] - b[1]);
    pointers.set(e.pointerId, [e.clientX, e.clientY]);
    const [c, d] = [...pointers.values()];
    zoom(Math.log(gap / Math.max(Math.hypot(c[0] - d[0], c[1] - d[1]), 1)));
    return pan(dx / 2, dy / 2);
  }
  pointers.set(e.pointerId, [e.clientX, e.clientY]);
  if (e.shiftKey || e.buttons & 6) return pan(dx, dy);
  const speed = mode() === "fly" ? 0.003 : 0.008;
  turn(dx * speed, dy * speed);
});
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (e) => {
  const camera = pressed && end === "pointerup" ? cameraAt(e) : -1;
  pressed = null;
  if (camera >= 0) jump(camera);
  pointers.delete(e.pointerId);
  if (!pointers.size) stage.classList.remove("dragging");
});
stage.addEventListener("contextmenu", (e) => e.preventDefault());
stage.addEventListener("wheel", (e) => {
  e.preventDefault();
  if (!pose) return;
  const lines = e.deltaMode === 1 ? 16 : 1;
  if (mode() === "fly") { pose.target = plus(pose.target, axes().back, e.deltaY * lines * 0.001 * pose.distance); return sendCamera(); }
  zoom(e.deltaY * lines * 0.0012);
}, { passive: false });

const keys = new Set();
const MOVES = { w: ["back", -1], s: ["back", 1], a: ["right", -1], d: ["right", 1], e: ["top", 1], q: ["top", -1],
  arrowup: ["back", -1], arrowdown: ["back", 1], arrowleft: ["right", -1], arrowright: ["right", 1] };
stage.addEventListener("keydown", (e) => {
  const key = e.key.toLowerCase();
  if (!(key in MOVES) || e.ctrlKey || e.metaKey || e.altKey) return;
  e.preventDefault();
  if (!keys.size) { lastTick = performance.now(); requestAnimationFrame(tick); }
  keys.add(key);
});
window.addEventListener("keyup", (e) => keys.delete(e.key.toLowerCase()));
stage.addEventListener("blur", () => keys.clear());

let lastTick = 0, spinning = false;
function tick(now) {
  const seconds = Math.min((now - lastTick) / 1000, 0.1);
  lastTick = now;
  if (pose && keys.size) {
    const frame = axes();
    for (const key of keys) pose.target = plus(pose.target, frame[MOVES[key][0]], MOVES[key][1] * pose.distance * seconds);
  }
  if (pose && spinning) pose.yaw += 0.6 * seconds;
  if (!keys.size && !spinning) return;
  sendCamera();
  requestAnimationFrame(tick);
}
$("spin").onclick = () => {
  spinning = !spinning;
  $("spin").setAttribute("aria-pressed", spinning);
  if (spinning) { lastTick = performance.now(); requestAnimationFrame(tick); }
};
$("home").onclick = () => { pose = { ...home, target: [...home.target] }; $("fov").value = pose.fov; showOutputs(); sendCamera(); };
$("fov").oninput = () => {
  const wide = Math.tan((pose.fov * Math.PI) / 360);
  pose.fov = Number($("fov").value);
  if (mode() === "orbit") pose.distance *= wide / Math.tan((pose.fov * Math.PI) / 360); // the object keeps its size
  showOutputs(); sendCamera();
};
for (const radio of document.getElementsByName("mode")) radio.onchange = () => {
  $("help").textContent = mode() === "fly" ? "Drag: look around. W A S D, Q E: fly. Wheel: forward and back."
    : "Drag: orbit. Shift or right button: pan. Wheel: zoom.";
};

// --- Controls ---------------------------------------------------------------------------------------------------------

function setControl(control, value) {
  if (control.type === "checkbox") control.checked = value; else control.value = value;
}
const control = (c) => (c.type === "checkbox" ? c.checked : Number(c.value || -1)); // a menu without entries: none of them
const theme = () => document.documentElement.dataset.theme;

function sendOptions() {
  const controls = Object.fromEntries(PROTOCOL.controls.map((name) => [name, control($(name))]));
  send({ type: "options", stamp: performance.now(), channel: $("channel").value || wanted || "shaded", theme: theme(), ...controls });
}
$("channel").addEventListener("input", () => { wanted = $("channel").value; });
for (const name of ["channel", ...PROTOCOL.controls]) $(name).addEventListener("input", () => { showOutputs(); sendOptions(); drawOverlay(); });
$("view").addEventListener("input", () => jump(Number($("view").value)));
function showOutputs() {
  const show = (id, text) => put(document.querySelector(`output[for=${id}]`), text);
  show("light", `${$("light").value}°`); show("turn", `${$("turn").value}°`); show("fov", `${$("fov").value}°`); show("opacity", `${Math.round(100 * $("opacity").value)} %`);
  put($("legend"), legends[$("channel").value] ?? "");
  $("legend").hidden = !$("legend").textContent;
}
// What there is to choose, [name, label, legend]. A choice that is gone for a while comes back with its channel.
function setChannels(list) {
  const menu = $("channel"), before = menu.value;
  if ([...menu.options].map((o) => o.value).join() !== list.map((c) => c[0]).join()) menu.replaceChildren(...list.map(([name, label]) => new Option(label, name)));
  menu.value = list.some((c) => c[0] === wanted) ? wanted : list[0][0];
  legends = Object.fromEntries(list.map((c) => [c[0], c[2]]));
  showOutputs();
  if (menu.value !== before) sendOptions();
}
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "Light" : "Dark";
  sendOptions(); drawOverlay(); plot();
}
$("theme").onclick = () => { const next = theme() === "dark" ? "light" : "dark"; localStorage.setItem("theme", next); setTheme(next); };
setTheme(localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark"));
for (const what of ["screenshot", "turntable", "mesh"]) $(what).onclick = () => {
  if (what === "turntable") { $(what).disabled = true; say("Drawing the film…", 0, true); }
  send({ type: "save", what });
};

// --- Optimization -------------------------------------------------------------------------------------------------------

function training(m) {
  paused = m.paused; stats.iteration = m.iteration;
  put($("iteration"), m.iteration.toLocaleString("en"));
  put($("speed"), paused ? "paused" : m.per_second.toPrecision(3));
  put($("pause"), paused ? "Resume" : "Pause");
  for (const [name, value] of Object.entries(m.rates)) {
    let input = [...$("rates").querySelectorAll("input")].find((i) => i.name === name);
    if (!input) {
      const label = document.createElement("label");
      label.className = "row"; label.append(name);
      input = Object.assign(document.createElement("input"), { type: "number", name, min: 0, step: "any" });
      input.onchange = () => { if (input.value !== "") send({ type: "rate", name, value: Number(input.value) }); };
      label.append(input); $("rates").append(label);
    }
    if (document.activeElement !== input) input.value = Number(value.toPrecision(4));
  }
}
$("pause").onclick = () => send({ type: "run", do: paused ? "resume" : "pause" });
$("step").onclick = () => send({ type: "run", do: "step" });

function plot() {
  const canvas = $("losses"), ratio = window.devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
  if (!width) return;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const c = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const good = losses.filter((p) => p[1] !== null);
  c.scale(ratio, ratio);
  c.font = "11px system-ui, sans-serif"; c.fillStyle = style.getPropertyValue("--soft");
  if (good.length < 2) return c.fillText("Loss: no values yet", 8, 16);
  const logarithmic = good.every((p) => p[1] > 0), y = (v) => (logarithmic ? Math.log10(v) : v);
  let low = Infinity, high = -Infinity;
  for (const [, v] of good) { low = Math.min(low, y(v)); high = Math.max(high, y(v)); }
  if (high - low < 1e-9) { high += 0.5; low -= 0.5; }
  const first = good[0][0], last = good[good.length - 1][0], top = 20, bottom = height - 18;
  c.strokeStyle = style.getPropertyValue("--accent"); c.lineWidth = 1.5; c.lineJoin = "round";
  c.beginPath();
  for (const [step, v] of good) c.lineTo(6 + ((width - 12) * (step - first)) / Math.max(last - first, 1), bottom - ((bottom - top) * (y(v) - low)) / (high - low));
  c.stroke();
  c.fillText(`Loss ${good[good.length - 1][1].toPrecision(3)}${logarithmic ? " (log scale)" : ""}`, 7, 13);
  c.fillText(String(first), 7, height - 5);
  c.textAlign = "right"; c.fillText(String(last), width - 7, height - 5);
}

connect();
