"use strict";
// Plays every .player of the page: its views share one control, and turn together where they are in space.
const ABSENT = 65535;
const MARGIN = 0.08; // of the canvas, kept free around the bodies
const STEP = 15; // degrees that an arrow key turns a body

// One clip on one canvas. Points are 16-bit numbers of one scale, x to the right, y downwards, z away.
const makeView = (box, clip) => {
  const canvas = box.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const bytes = Uint8Array.from(atob(clip.points), (letter) => letter.charCodeAt(0));
  const numbers = new DataView(bytes.buffer);
  const weights = clip.weights && Int8Array.from(atob(clip.weights), (letter) => letter.charCodeAt(0));
  const count = clip.frames * clip.bodies * clip.joints;
  const coordinate = (point, axis) => numbers.getUint16((point * clip.axes + axis) * 2, true);
  const places = new Float64Array(count * 2); // turned, in the points' scale
  let fit = { scale: 0, x: 0, y: 0 };

  // Every view of a body is as large as fits, with one scale for all frames, so that nothing jumps.
  const turn = (yaw, tilt) => {
    const [sinY, cosY, sinT, cosT] = [Math.sin(yaw), Math.cos(yaw), Math.sin(tilt), Math.cos(tilt)];
    const low = [Infinity, Infinity];
    const high = [-Infinity, -Infinity];
    for (let point = 0; point < count; point += 1) {
      let place = [NaN, NaN];
      if (coordinate(point, 0) !== ABSENT) {
        const [x, y] = [coordinate(point, 0) - clip.middle[0], coordinate(point, 1) - clip.middle[1]];
        const z = clip.axes > 2 ? coordinate(point, 2) - clip.middle[2] : 0;
        const away = cosY * z - sinY * x;
        place = [cosY * x + sinY * z, cosT * y + sinT * away];
        for (const axis of [0, 1]) {
          low[axis] = Math.min(low[axis], place[axis]);
          high[axis] = Math.max(high[axis], place[axis]);
        }
      }
      places.set(place, point * 2);
    }
    const extent = Math.max(high[0] - low[0], high[1] - low[1]);
    fit = { scale: extent > 0 ? 1 / extent : 0, x: (low[0] + high[0]) / 2, y: (low[1] + high[1]) / 2 };
  };

  // How much a joint stands out, -1 to 1: a disc, or a ring below 0 (skeleton.py's `radius`).
  const mark = (place, weight, side, colour) => {
    const radius = (side / 26) * Math.sqrt(Math.abs(weight));
    if (radius < 1) return;
    pen.beginPath();
    pen.arc(...place, radius, 0, 7);
    pen.fillStyle = colour("for");
    pen.strokeStyle = colour("against");
    if (weight > 0) pen.fill();
    else pen.stroke();
  };

  const draw = (frame) => {
    const side = canvas.clientWidth || 240;
    const density = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(side * density);
    pen.setTransform(density, 0, 0, density, 0, 0);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name || "middle"}`);
    const point = (body, joint) => {
      const at = ((frame * clip.bodies + body) * clip.joints + joint) * 2;
      if (Number.isNaN(places[at])) return null;
      const scale = fit.scale * side * (1 - 2 * MARGIN);
      return [(places[at] - fit.x) * scale + side / 2, (places[at + 1] - fit.y) * scale + side / 2];
    };
    pen.lineWidth = Math.max(3, side / 90);
    pen.lineCap = "round";
    let seen = 0;
    for (let body = clip.bodies - 1; body >= 0 && clip.frames; body -= 1) {
      pen.globalAlpha = body ? 0.55 : 1;
      for (const [child, parent, of] of clip.bones) {
        const [from, to] = [point(body, child), point(body, parent)];
        if (!from || !to) continue;
        pen.strokeStyle = colour(of);
        pen.beginPath();
        pen.moveTo(...from);
        pen.lineTo(...to);
        pen.stroke();
      }
      clip.sides.forEach((of, joint) => {
        const place = point(body, joint);
        if (!place) return;
        seen += 1;
        pen.fillStyle = colour(of);
        pen.beginPath();
        pen.arc(...place, Math.max(2.6, side / 110), 0, 7);
        pen.fill();
        if (weights) mark(place, weights[(frame * clip.bodies + body) * clip.joints + joint] / 127, side, colour);
      });
    }
    pen.globalAlpha = 1;
    if (!seen) {
      pen.fillStyle = style.getPropertyValue("--quiet");
      pen.font = "14px sans-serif";
      pen.textAlign = "center";
      pen.fillText("no body in this frame", side / 2, side / 2);
    }
    box.querySelector(".frame").textContent = clip.frames ? `${clip.numbers[frame]}/${clip.of}` : "no frames";
  };
  turn(0, 0);
  return { canvas, clip, turn, draw };
};

for (const box of document.querySelectorAll(".player:not([data-made])")) {
  box.dataset.made = "yes";
  const clips = JSON.parse(box.querySelector("script").textContent);
  const views = [...box.querySelectorAll(".view")].map((each, index) => makeView(each, clips[index]));
  const slider = box.querySelector("input");
  const button = box.querySelector(".play");
  const time = box.querySelector(".time");
  const longest = clips.reduce((a, b) => (b.frames * b.milliseconds > a.frames * a.milliseconds ? b : a));
  let frame = 0; // of the longest clip
  let last = 0;
  let [yaw, tilt] = [0, 0];
  let playing = longest.frames > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches;

  const draw = () => {
    const now = frame * longest.milliseconds;
    for (const { clip, draw: show } of views) {
      show(Math.max(0, Math.min(clip.frames - 1, Math.floor(now / clip.milliseconds + 1e-6))));
    }
    if (!slider) return;
    slider.value = frame;
    button.textContent = playing ? "Pause" : "Play";
    const whole = (longest.frames * longest.milliseconds) / 1000;
    time.textContent = `${(now / 1000).toFixed(2)} of ${whole.toFixed(2)} s`;
    slider.setAttribute("aria-valuetext", time.textContent);
  };
  const tick = (now) => {
    if (!playing) return;
    if (now - last >= longest.milliseconds) {
      last = now;
      frame = (frame + 1) % longest.frames;
      draw();
    }
    requestAnimationFrame(tick);
  };
  const play = (wanted) => {
    if (!slider) return;
    playing = wanted;
    draw();
    requestAnimationFrame(tick);
  };
  const turn = (newYaw, newTilt) => {
    yaw = newYaw;
    tilt = Math.max(-90, Math.min(90, newTilt));
    for (const view of views) if (view.clip.axes > 2) view.turn((yaw * Math.PI) / 180, (tilt * Math.PI) / 180);
    for (const each of box.querySelectorAll("[data-turn]")) {
      each.setAttribute("aria-pressed", tilt === 0 && Number(each.dataset.turn) === yaw);
    }
    draw();
  };

  if (slider) {
    slider.max = longest.frames - 1;
    button.addEventListener("click", () => play(!playing));
    slider.addEventListener("input", () => {
      playing = false;
      frame = Number(slider.value);
      draw();
    });
  }
  for (const each of box.querySelectorAll("[data-turn]")) {
    each.addEventListener("click", () => turn(Number(each.dataset.turn), 0));
  }
  const keys = {
    ArrowLeft: () => turn(yaw - STEP, tilt), ArrowRight: () => turn(yaw + STEP, tilt),
    ArrowUp: () => turn(yaw, tilt - STEP), ArrowDown: () => turn(yaw, tilt + STEP),
    0: () => turn(0, 0), " ": () => play(!playing),
  };
  for (const { canvas, clip } of views) {
    new ResizeObserver(draw).observe(canvas);
    if (clip.axes < 3) continue;
    canvas.classList.add("turns");
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      const upright = event.pointerType === "touch" ? 0 : event.movementY; // a finger scrolls the page
      turn(yaw + event.movementX / 2, tilt - upright / 2);
    });
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  turn(0, 0);
  requestAnimationFrame(tick);
}
document.documentElement.dataset.players = document.querySelectorAll(".player .view").length;
