"use strict";
const cards = [...document.querySelectorAll("article")];
const find = document.getElementById("find"), sort = document.getElementById("sort");
const show = () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    const text = card.textContent.toLowerCase();
    card.hidden = !words.every((word) => text.includes(word));
    shown += !card.hidden;
  }
  document.getElementById("shown").textContent = `${shown} of ${cards.length}`;
};
const order = () => {
  const key = sort.value, numbers = ["warnings", "height", "faces"].includes(key);
  const value = (card) => card.dataset[key];
  const compare = numbers ? (a, b) => value(b) - value(a) : (a, b) => value(a).localeCompare(value(b));
  document.getElementById("accepted").append(...cards.sort(compare));
};
find.addEventListener("input", show);
sort.addEventListener("change", order);
show();
