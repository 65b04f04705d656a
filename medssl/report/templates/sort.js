// Each title of a column becomes a button that sorts its table: upwards, downwards, as it was.
"use strict";
const ORDERS = { none: "ascending", ascending: "descending", descending: "none" };

function sorted(rows, column, order) {
  if (order === "none") return rows;
  const numeric = rows[0].cells[column].matches(".number");
  const value = (row) => {
    const text = row.cells[column].firstChild?.textContent.trim() ?? "";
    return numeric ? parseFloat(text) : text;
  };
  const says = (row) => (numeric ? !Number.isNaN(value(row)) : value(row) !== "");
  const compare = (a, b) => (numeric ? value(a) - value(b) : value(a).localeCompare(value(b), undefined, { numeric: true }));
  const told = rows.filter(says).sort((a, b) => (order === "ascending" ? compare(a, b) : compare(b, a)));
  return [...told, ...rows.filter((row) => !says(row))]; // what is undefined comes last either way
}

for (const table of document.querySelectorAll("table")) {
  const rows = [...table.tBodies[0].rows], titles = [...(table.tHead?.rows[0].cells ?? [])];
  if (rows.length < 3) continue;
  for (const [column, title] of titles.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    title.ariaSort = "none";
    button.addEventListener("click", () => {
      const order = ORDERS[title.ariaSort];
      titles.forEach((each) => (each.ariaSort = each === title ? order : "none"));
      table.tBodies[0].append(...sorted(rows, column, order));
    });
  }
}
