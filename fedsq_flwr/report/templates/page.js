"use strict";
// Sorts tables, shows the value under the pointer, switches methods off and on. Without it the page shows everything.

// A row that explains the one above it, and so goes where that one goes.
const follows = (row) => row.classList.contains("drops");

function valueOf(cell) {
  const text = cell.dataset.value ?? (cell.firstChild?.textContent ?? "").trim();
  const number = Number.parseFloat(text.replace(/^[≥\s]+/, "").replaceAll(",", "").replace("\u2212", "-"));
  return { text: cell.textContent.trim(), number };
}

function compare(one, other) {
  const [left, right] = [Number.isNaN(one.number), Number.isNaN(other.number)];
  if (left && right) return one.text.localeCompare(other.text, "en", { numeric: true });
  return left || right ? 0 : one.number - other.number;
}

function sort(table, column, descending) {
  const body = table.tBodies[0];
  const groups = [];
  for (const row of body.rows) {
    if (follows(row) && groups.length) groups.at(-1).push(row);
    else groups.push([row]);
  }
  const keyed = groups.map((rows) => ({ rows, key: valueOf(rows[0].cells[column]) }));
  const numeric = keyed.some(({ key }) => !Number.isNaN(key.number));
  keyed.sort((one, other) => {
    // What was not measured comes last, whichever way.
    const lacking = numeric && Number.isNaN(one.key.number) - Number.isNaN(other.key.number);
    return lacking || (descending ? -1 : 1) * compare(one.key, other.key);
  });
  for (const { rows } of keyed) body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows].at(-1).cells;
  [...heads].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.ariaSort === "ascending";
      for (const each of heads) each.ariaSort = null;
      head.ariaSort = descending ? "descending" : "ascending";
      sort(table, column, descending);
    });
  });
}

const off = new Set();
for (const box of document.querySelectorAll(".switches input")) {
  box.closest(".switches").hidden = false;
  box.checked = true; // a browser remembers it otherwise
  box.addEventListener("change", () => {
    box.checked ? off.delete(box.value) : off.add(box.value);
    for (const part of document.querySelectorAll(`.${box.value}`)) part.classList.toggle("off", !box.checked);
  });
}

const REACH = 30; // points of a figure from the pointer
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

for (const picture of document.querySelectorAll("svg[data-spots]")) {
  const spots = JSON.parse(picture.dataset.spots);
  const point = (event) => {
    const box = picture.getBoundingClientRect();
    const scale = picture.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let [nearest, least] = [null, REACH];
    for (const spot of spots) {
      const distance = Math.hypot(spot[0] - x, spot[1] - y);
      if (distance < least && !off.has(spot[3])) [nearest, least] = [spot, distance];
    }
    tip.hidden = nearest === null;
    if (nearest === null) return;
    tip.textContent = nearest[2];
    const left = Math.min(box.left + nearest[0] / scale + 10, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, box.top + nearest[1] / scale - tip.offsetHeight - 10)}px`;
  };
  picture.addEventListener("pointermove", point);
  picture.addEventListener("pointerdown", point);
  picture.addEventListener("pointerleave", () => (tip.hidden = true));
}
