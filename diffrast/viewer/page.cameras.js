// The input views: their cameras in the scene, with thumbnails, and jumping into them. Loaded before page.js, which has the state.
"use strict";

function setViews(list) {
  views = list;
  $("views").hidden = !views.length;
  const chosen = $("view").value || "-1";
  $("view").replaceChildren(new Option("none", -1), ...views.map((v, i) => new Option(v.name || `view ${i + 1}`, i)));
  $("view").value = Number(chosen) < views.length ? chosen : "-1";
  drawOverlay();
}

// Where a frustum's picture lies: its centre and corners at a depth of a tenth of the home distance.
function frustum(view) {
  const p = view.pose, depth = 0.08 * home.distance, [sx, sy] = view.slopes;
  const world = (x, y) => [0, 1, 2].map((i) => p[i][0] * x * sx * depth + p[i][1] * y * sy * depth - p[i][2] * depth + p[i][3]);
  return { center: [p[0][3], p[1][3], p[2][3]], corners: [world(-1, -1), world(1, -1), world(1, 1), world(-1, 1)] };
}
function project(point) {
  const { back, right, top } = axes(), d = plus(point, eye(), -1), w = -dot(d, back);
  const f = overlay.height / 2 / Math.tan((pose.fov * Math.PI) / 360);
  return w > 1e-6 * pose.distance ? [overlay.width / 2 + (f * dot(d, right)) / w, overlay.height / 2 - (f * dot(d, top)) / w] : null;
}
function showsFrusta() {
  return pose && views.length && $("frusta").checked && Number($("view").value) < 0 && !PROTOCOL.images.includes($("channel").value);
}

// What is in sight of each camera, far ones first: index, eye and the four corners on screen.
function frustaInSight() {
  const back = axes().back;
  return views.map((view, index) => {
    const { center, corners } = frustum(view);
    return { index, far: -dot(back, center), eye: project(center), quad: corners.map(project) };
  }).filter((f) => f.eye && f.quad.every(Boolean)).sort((a, b) => b.far - a.far);
}
function drawOverlay() {
  const c = overlay.getContext("2d"), style = getComputedStyle(document.documentElement);
  c.clearRect(0, 0, overlay.width, overlay.height);
  if (!showsFrusta()) return;
  for (const { index, eye, quad } of frustaInSight()) {
    if (thumbnails) drawThumbnail(c, index, quad);
    c.strokeStyle = style.getPropertyValue(index === hovered ? "--text" : "--accent");
    c.lineWidth = (index === hovered ? 2 : 1) * (window.devicePixelRatio || 1);
    c.beginPath();
    quad.forEach((x, i) => { c.moveTo(...eye); c.lineTo(...x); c.lineTo(...quad[(i + 1) % 4]); });
    c.stroke();
  }
}
// A canvas knows affine maps only, so a picture in perspective is two triangles. Corners: bottom left, then counter-clockwise.
function drawThumbnail(c, index, [a, b, d, e]) {
  const { side, image } = thumbnails, columns = image.width / side, [wide, high] = views[index].thumbnail;
  const x = (index % columns) * side, y = Math.floor(index / columns) * side;
  for (const [corner, across, along] of [[a, minus(b, a), minus(a, e)], [d, minus(d, e), minus(b, d)]]) {
    c.save();
    c.beginPath();
    for (const q of [corner, e, b]) c.lineTo(...q);
    c.clip();
    c.transform(across[0] / wide, across[1] / wide, along[0] / high, along[1] / high, ...e); // e is the picture's corner at the top left
    c.drawImage(image, x, y, wide, high, 0, 0, wide, high);
    c.restore();
  }
}
const minus = (a, b) => [a[0] - b[0], a[1] - b[1]];

// The camera whose picture is at a place of the page, the nearest one; -1 if there is none.
function cameraAt(event) {
  if (!showsFrusta()) return -1;
  const box = stage.getBoundingClientRect(), ratio = overlay.width / box.width;
  const p = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  const side = (a, b) => Math.sign((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]));
  return frustaInSight().findLast(({ quad }) => Math.abs(quad.reduce((sum, q, i) => sum + side(q, quad[(i + 1) % 4]), 0)) === 4)?.index ?? -1;
}
function hover(index) {
  if (index === hovered) return;
  hovered = index;
  stage.classList.toggle("over", index >= 0);
  stage.title = index >= 0 ? views[index].name : "";
  drawOverlay();
}

// Look through a photograph's camera. The page's own camera goes there too, so that one who leaves it starts from there.
function jump(index) {
  hover(-1);
  $("view").value = index;
  if (index >= 0) {
    const p = views[index].pose, back = [p[0][2], p[1][2], p[2][2]], center = [p[0][3], p[1][3], p[2][3]];
    const high = up === "y" ? back[1] : back[2], front = up === "y" ? back[2] : -back[1];
    const distance = Math.max(dot(plus(center, home.target, -1), back), 0.1 * home.distance);
    pose = { target: plus(center, back, -distance), yaw: Math.atan2(back[0], front), pitch: Math.asin(Math.min(Math.max(high, -1), 1)), distance,
      fov: within((Math.atan(views[index].slopes[1]) * 360) / Math.PI, Number($("fov").min), Number($("fov").max)) };
    $("fov").value = pose.fov;
    send({ type: "camera", stamp: performance.now(), ...pose });
  }
  showOutputs(); sendOptions(); drawOverlay();
}
