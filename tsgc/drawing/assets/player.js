"use strict";
// Plays every .player of the page: points are 64ths of a pixel, 65535 where a body is absent.
for (const box of document.querySelectorAll(".player")) {
  const clip = JSON.parse(box.querySelector("script").textContent);
  const bytes = Uint8Array.from(atob(clip.points), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const [width, height] = clip.size;
  const canvas = box.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const slider = box.querySelector("input");
  const button = box.querySelector("button");
  const counter = box.querySelector(".frame");
  let frame = 0;
  let last = 0;
  let playing = clip.frames > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches;

  const point = (body, joint) => {
    const place = (((frame * clip.bodies + body) * clip.joints + joint) * 2) * 2;
    const x = view.getUint16(place, true);
    return x === 65535 ? null : [x / 64, view.getUint16(place + 2, true) / 64];
  };

  const draw = () => {
    const density = window.devicePixelRatio || 1;
    canvas.width = width * density;
    canvas.height = height * density;
    pen.setTransform(density, 0, 0, density, 0, 0);
    const style = getComputedStyle(document.documentElement);
    const colour = (side) => style.getPropertyValue(`--${side || "middle"}`);
    pen.lineWidth = 3;
    pen.lineCap = "round";
    let seen = 0;
    for (let body = clip.bodies - 1; body >= 0; body -= 1) {
      if (!clip.frames) continue;
      pen.globalAlpha = body ? 0.55 : 1;
      for (const [child, parent, side] of clip.bones) {
        const [from, to] = [point(body, child), point(body, parent)];
        if (!from || !to) continue;
        pen.strokeStyle = colour(side);
        pen.beginPath();
        pen.moveTo(...from);
        pen.lineTo(...to);
        pen.stroke();
      }
      clip.sides.forEach((side, joint) => {
        const place = point(body, joint);
        if (!place) return;
        seen += 1;
        pen.fillStyle = colour(side);
        pen.beginPath();
        pen.arc(...place, 2.6, 0, 7);
        pen.fill();
      });
    }
    pen.globalAlpha = 1;
    if (!seen) {
      pen.fillStyle = style.getPropertyValue("--quiet");
      pen.font = "14px sans-serif";
      pen.fillText("no body in this frame", 50, height / 2);
    }
    slider.value = frame;
    counter.textContent = clip.frames ? `${clip.numbers[frame]}/${clip.of}` : "no frames";
    button.textContent = playing ? "Pause" : "Play";
  };

  const tick = (now) => {
    if (!playing) return;
    if (now - last >= clip.milliseconds) {
      last = now;
      frame = (frame + 1) % clip.frames;
      draw();
    }
    requestAnimationFrame(tick);
  };

  button.disabled = clip.frames < 2;
  slider.max = Math.max(0, clip.frames - 1);
  button.addEventListener("click", () => {
    playing = !playing;
    draw();
    requestAnimationFrame(tick);
  });
  slider.addEventListener("input", () => {
    playing = false;
    frame = Number(slider.value);
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
  requestAnimationFrame(tick);
}
document.documentElement.dataset.players = document.querySelectorAll(".player").length;
