"use strict";
// Sorting: a header's button sorts its table, upwards and downwards in turns; empty cells and dashes stay at the end.
const number = (text) => {
  const found = text.replaceAll(",", "").match(/^[-−]?\d+(\.\d+)?/);
  if (!found) return NaN;
  return parseFloat(found[0].replace("−", "-")) * (/^[\d.,]+M/.test(text) ? 1e6 : 1);
};
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
    const column = head.cellIndex, numeric = head.classList.contains("n");
    const up = head.getAttribute("aria-sort") === (numeric ? "descending" : "none");
    const down = numeric ? !up : head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].textContent.trim();
    const compare = (a, b) => {
      if (!numeric) return key(a).localeCompare(key(b), undefined, { numeric: true }) * (down ? -1 : 1);
      const [x, y] = [number(key(a)), number(key(b))];
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return (x - y) * (down ? -1 : 1);
    };
    body.append(...[...body.rows].sort(compare));
  });
}
