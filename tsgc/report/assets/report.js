"use strict";
// Confusion matrices: drawn on a canvas, read by pointer or arrow keys.
for (const box of document.querySelectorAll(".matrix")) {
  const { names, totals, cells } = JSON.parse(box.querySelector("script").textContent);
  const size = names.length;
  const counts = new Int32Array(size * size);
  for (let i = 0; i < cells.length; i += 3) counts[cells[i] * size + cells[i + 1]] = cells[i + 2];
  const canvas = box.querySelector("canvas");
  const readout = box.querySelector(".readout");
  const pen = canvas.getContext("2d");
  let chosen = null;

  // Names beside and below, where a cell is high enough to read one; room for the longest, up to a part.
  const lettering = (cell) => `${Math.min(13, Math.max(9, cell - 2))}px sans-serif`;
  const gutter = () => {
    const width = canvas.clientWidth;
    if (width / size < 9) return 0;
    pen.font = lettering((width * 0.7) / size);
    const longest = Math.max(...names.map((name) => pen.measureText(name).width));
    const edge = Math.min(longest + 12, width * 0.42);
    return (width - edge) / size < 8 ? 0 : edge;
  };

  const draw = () => {
    const width = canvas.clientWidth;
    if (!width) return;
    const density = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(width * density);
    pen.setTransform(density, 0, 0, density, 0, 0);
    const style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(`--${name}`).trim();
    const edge = gutter();
    const side = width - edge;
    const cell = side / size;
    const at = (index) => Math.round(index * cell * density) / density; // no seams between cells
    pen.textBaseline = "middle";
    for (let row = 0; row < size; row += 1) {
      for (let column = 0; column < size; column += 1) {
        const count = counts[row * size + column];
        if (!count) continue;
        // The square root lets rare confusions be seen beside a diagonal near 100 %.
        const depth = 0.1 + 0.9 * Math.sqrt(count / totals[row]);
        pen.fillStyle = `rgba(${ink("heat")}, ${depth})`;
        pen.fillRect(edge + at(column), at(row), at(column + 1) - at(column), at(row + 1) - at(row));
        if (cell >= 22) {
          pen.fillStyle = ink(depth > Number(ink("deep")) ? "paper" : "ink"); // whichever stands out
          pen.font = "12px sans-serif";
          pen.textAlign = "center";
          pen.fillText(count, edge + (column + 0.5) * cell, (row + 0.5) * cell);
        }
      }
    }
    pen.strokeStyle = ink("rule");
    pen.lineWidth = 1;
    pen.strokeRect(edge + 0.5, 0.5, side - 1, side - 1);
    if (edge) {
      const fit = (text, room) => {
        let short = text;
        while (short.length > 2 && pen.measureText(short).width > room) short = `${short.slice(0, -2).trimEnd()}…`;
        return short;
      };
      pen.fillStyle = ink("quiet");
      pen.textAlign = "right";
      pen.font = lettering(cell);
      names.forEach((name, index) => {
        pen.fillText(fit(name, edge - 8), edge - 6, (index + 0.5) * cell);
        pen.save();
        pen.translate(edge + (index + 0.5) * cell, side + 6);
        pen.rotate(-Math.PI / 2);
        pen.fillText(fit(name, edge - 8), 0, 0);
        pen.restore();
      });
    }
    if (chosen) {
      pen.strokeStyle = ink("c1");
      pen.lineWidth = 2.5;
      const most = Math.max(cell, 10);
      const shift = (cell - most) / 2;
      pen.strokeRect(edge + chosen[1] * cell + shift, chosen[0] * cell + shift, most, most);
    }
  };

  const choose = (row, column) => {
    chosen = [Math.min(size - 1, Math.max(0, row)), Math.min(size - 1, Math.max(0, column))];
    const [true_, predicted] = chosen;
    const count = counts[true_ * size + predicted];
    const share = totals[true_] ? ` (${((100 * count) / totals[true_]).toFixed(1)} %)` : "";
    readout.textContent =
      true_ === predicted
        ? `${names[true_]}: ${count} of ${totals[true_]} clips right${share}`
        : `${names[true_]} taken for ${names[predicted]}: ${count} of ${totals[true_]} clips${share}`;
    draw();
  };

  canvas.addEventListener("pointermove", (event) => {
    const place = canvas.getBoundingClientRect();
    const side = place.width - gutter();
    choose(
      Math.floor(((event.clientY - place.top) / side) * size),
      Math.floor(((event.clientX - place.left - gutter()) / side) * size));
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [row, column] = chosen || [0, 0];
    choose(row + steps[event.key][0], column + steps[event.key][1]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(draw).observe(canvas);
}

// Curves: the values of the epoch under the pointer.
for (const box of document.querySelectorAll(".chart")) {
  const data = JSON.parse(box.querySelector("script").textContent);
  const svg = box.querySelector(".curves");
  const cursor = svg.querySelector(".cursor");
  const readout = box.querySelector(".readout");
  const rest = readout.textContent;
  const [low, high, left, right] = data.x;
  const epochs = [...new Set(data.series.flatMap((series) => series.x))];
  svg.addEventListener("pointermove", (event) => {
    const place = svg.getBoundingClientRect();
    const x = ((event.clientX - place.left) / place.width) * svg.viewBox.baseVal.width;
    const wanted = low + ((x - left) / (right - left)) * (high - low);
    const epoch = epochs.reduce((best, each) => (Math.abs(each - wanted) < Math.abs(best - wanted) ? each : best));
    const at = left + ((epoch - low) / (high - low)) * (right - left);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    cursor.removeAttribute("hidden");
    const said = data.series
      .filter((series) => series.x.includes(epoch))
      .map((series) => `${series.name} ${series.y[series.x.indexOf(epoch)]}`);
    readout.textContent = `epoch ${epoch}: ${said.join(", ")} ${data.unit}`.trim();
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("hidden", "");
    readout.textContent = rest;
  });
}

// Tables: only what stands out. Classes: another order.
for (const box of document.querySelectorAll("input[data-only]")) {
  const show = () => document.getElementById(box.dataset.only).classList.toggle("only", box.checked);
  box.addEventListener("change", show);
  show();
}
const orders = {
  worst: (a, b) => a.dataset.mean - b.dataset.mean,
  best: (a, b) => b.dataset.mean - a.dataset.mean,
  number: (a, b) => a.dataset.number - b.dataset.number,
  spread: (a, b) => b.dataset.spread - a.dataset.spread,
};
for (const select of document.querySelectorAll("select[data-sorts]")) {
  select.addEventListener("change", () => {
    const list = document.getElementById(select.dataset.sorts);
    list.append(...[...list.children].sort(orders[select.value]));
  });
}
document.documentElement.dataset.ready = "yes";
