"use strict";
// Test clips as points: drawn on a canvas, read by pointer or arrow keys. Classes differ by colour and by shape.
const SHAPES = [
  (pen, x, y, r) => pen.arc(x, y, r, 0, 7),
  (pen, x, y, r) => [[0, -1.3], [1.15, 0.8], [-1.15, 0.8]].forEach(([a, b], i) => pen[i ? "lineTo" : "moveTo"](x + a * r, y + b * r)),
  (pen, x, y, r) => pen.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r),
  (pen, x, y, r) => [[0, -1.4], [1.2, 0], [0, 1.4], [-1.2, 0]].forEach(([a, b], i) => pen[i ? "lineTo" : "moveTo"](x + a * r, y + b * r)),
];
const paint = (pen, shape, x, y, r, colour, filled) => {
  pen.beginPath();
  SHAPES[shape % SHAPES.length](pen, x, y, r);
  pen.closePath();
  pen.fillStyle = pen.strokeStyle = colour;
  pen.lineWidth = 1.4;
  if (filled) pen.fill();
  else pen.stroke();
};

for (const box of document.querySelectorAll(".embedding")) {
  const data = JSON.parse(box.querySelector("script").textContent);
  const canvas = box.querySelector(".cloud canvas");
  const still = box.querySelector("canvas.still");
  const readout = box.querySelector(".readout");
  const coloured = [...data.coloured];
  const count = data.labels.length;
  const pen = canvas.getContext("2d");
  let places = Object.values(data.places)[0];
  let chosen = -1;
  let shown = 0; // frame of the clip that is pointed at

  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const edge = 10;
  const at = (index) => {
    const room = canvas.clientWidth - 2 * edge;
    return [edge + (places[2 * index] / data.grid) * room, edge + (places[2 * index + 1] / data.grid) * room];
  };

  const draw = () => {
    const side = canvas.clientWidth;
    if (!side) return;
    const density = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(side * density);
    pen.setTransform(density, 0, 0, density, 0, 0);
    const r = count > 1500 ? 2.4 : 3.4;
    const colours = [...Array(8).keys()].map((index) => ink(`c${index}`));
    const last = chosen < 0 ? -1 : data.labels[chosen];
    const layers = [[], [], []]; // the others, those in colour, the class that is pointed at
    for (let index = 0; index < count; index += 1) {
      const own = coloured.indexOf(data.labels[index]);
      layers[data.labels[index] === last ? 2 : own < 0 ? 0 : 1].push([index, own]);
    }
    layers.forEach((points, layer) => {
      pen.globalAlpha = layer ? 0.9 : 0.55;
      for (const [index, own] of points) {
        const colour = layer === 2 ? ink("ink") : own < 0 ? ink("rule") : colours[own % 8];
        paint(pen, Math.max(own, 0), ...at(index), layer === 2 ? r + 1 : r, colour, data.labels[index] === data.predicted[index]);
      }
    });
    pen.globalAlpha = 1;
    if (chosen >= 0) {
      pen.beginPath();
      pen.arc(...at(chosen), r + 6, 0, 7);
      pen.strokeStyle = ink("accent");
      pen.lineWidth = 2.5;
      pen.stroke();
    }
    for (const marker of box.querySelectorAll("[data-marker]")) {
      const own = Number(marker.dataset.marker);
      marker.innerHTML = "<canvas width='36' height='36'></canvas>";
      paint(marker.firstChild.getContext("2d"), own, 18, 18, 11, colours[own % 8], true);
    }
  };

  const drawStill = () => {
    if (!still || chosen < 0) return;
    still.hidden = false;
    const [frames, bodies, text] = data.stills.clips[chosen];
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = still.getContext("2d");
    const frame = Math.min(shown % Math.max(frames, 1), frames - 1);
    const point = (body, joint) => {
      const place = ((frame * bodies + body) * data.stills.joints + joint) * 2;
      return bytes[place] === 255 ? null : [(bytes[place] / 254) * still.width, (bytes[place + 1] / 254) * still.height];
    };
    view.clearRect(0, 0, still.width, still.height);
    view.lineWidth = 3;
    view.lineCap = "round";
    for (let body = bodies - 1; body >= 0; body -= 1) {
      view.globalAlpha = body ? 0.55 : 1;
      for (const [child, parent, of] of data.stills.bones) {
        const [from, to] = [point(body, child), point(body, parent)];
        if (!from || !to) continue;
        view.strokeStyle = ink(of || "middle");
        view.beginPath();
        view.moveTo(...from);
        view.lineTo(...to);
        view.stroke();
      }
    }
    view.globalAlpha = 1;
  };

  const choose = (index) => {
    if (index < 0 || index === chosen) return;
    chosen = index;
    shown = 0;
    const [label, predicted] = [data.labels[index], data.predicted[index]];
    const taken = label === predicted ? "right" : `taken for ${data.classes[predicted]}`;
    readout.textContent = `${data.classes[label]}, ${taken}: ${data.names[index]}`;
    draw();
    drawStill();
  };

  const nearest = (x, y, fits) => {
    let [best, least] = [-1, Infinity];
    for (let index = 0; index < count; index += 1) {
      const [a, b] = at(index);
      const away = (a - x) ** 2 + (b - y) ** 2;
      if (away < least && fits(a - x, b - y, index)) [best, least] = [index, away];
    }
    return best;
  };

  canvas.addEventListener("pointermove", (event) => {
    const place = canvas.getBoundingClientRect();
    choose(nearest(event.clientX - place.left, event.clientY - place.top, (dx, dy) => dx * dx + dy * dy < 900));
  });
  const ways = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in ways)) return;
    event.preventDefault();
    const [a, b] = ways[event.key];
    const [x, y] = chosen < 0 ? [canvas.clientWidth / 2, canvas.clientWidth / 2] : at(chosen);
    choose(nearest(x, y, (dx, dy, index) => index !== chosen && a * dx + b * dy > Math.abs(b * dx + a * dy) * 0.99 && a * dx + b * dy >= 0));
  });
  for (const select of box.querySelectorAll("[data-colour]")) {
    select.addEventListener("change", () => {
      coloured[Number(select.dataset.colour)] = Number(select.value);
      draw();
    });
  }
  const axes = box.querySelector("[data-places]");
  if (axes) {
    axes.addEventListener("change", () => {
      places = data.places[axes.value];
      draw();
    });
  }
  if (still && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
    setInterval(() => {
      shown += 1;
      drawStill();
    }, 200);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    draw();
    drawStill();
  });
  new ResizeObserver(draw).observe(canvas);
  draw();
}
