// What the pages do besides being read: the search, and ways for the keyboard. Text becomes text, never HTML.
"use strict";
(() => {
  const MOST = 30, BEFORE = 50, AFTER = 150;
  const root = document.documentElement.dataset.root;
  const form = document.querySelector("form"), box = document.getElementById("query"), results = document.getElementById("results");
  const count = document.getElementById("count"), list = document.getElementById("found");
  let places = null; // made at the first search: [{ address, title, heading, text, and the last three in small letters }]

  function allPlaces() {
    return window.searchIndex.flatMap(([address, title, parts]) => parts.map(([anchor, heading, text]) => ({
      address: root + address + (anchor ? "#" + anchor : ""), title, heading, text,
      low: text.toLowerCase(), head: heading.toLowerCase(), page: title.toLowerCase(),
    })));
  }

  // How well a place fits: 0 if one of the words is missing. Headings count most, then the start of a word, then how often.
  function fit(place, words) {
    let points = 0;
    for (const { word, start, made } of words) {
      const often = place.low.split(word).length - 1;
      const inHead = place.head.includes(word), inPage = place.page.includes(word);
      if (!often && !inHead && !inPage) return 0;
      points += Math.min(often, 5) + (inHead ? 10 : 0) + (inPage ? 4 : 0);
      points += (start.test(place.low) ? 3 : 0) + (made.test(place.low) ? 12 : 0);
    }
    return points;
  }

  function wordsOf(query) {
    return [...new Set(query.toLowerCase().split(/\s+/))].filter(Boolean).map((word) => {
      const plain = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      return { word, start: new RegExp("(^|[^\\p{L}\\p{N}_])" + plain, "u"), made: new RegExp("(def|class) " + plain + "\\b") };
    });
  }

  // A piece of the text around the first word that is in it, the words marked.
  function excerpt(place, words) {
    const first = Math.min(...words.map(({ word }) => place.low.indexOf(word)).filter((at) => at >= 0), place.text.length);
    let from = first === place.text.length ? 0 : Math.max(0, first - BEFORE);
    if (from) from = Math.min(first, from + 1 + place.text.slice(from, first).indexOf(" ")); // a whole word, where there are blanks
    const line = document.createElement("span");
    const piece = (from ? "… " : "") + place.text.slice(from, from + BEFORE + AFTER) + (from + BEFORE + AFTER < place.text.length ? " …" : "");
    const low = piece.toLowerCase();
    for (let at = 0; at < piece.length; ) {
      const hits = words.map(({ word }) => [low.indexOf(word, at), word.length]).filter(([start]) => start >= 0);
      const [start, length] = hits.sort((a, b) => a[0] - b[0] || b[1] - a[1])[0] || [piece.length, 0];
      line.append(piece.slice(at, start));
      if (length) {
        const mark = document.createElement("mark");
        mark.textContent = piece.slice(start, start + length);
        line.append(mark);
      }
      at = start + length;
    }
    return line;
  }

  function search() {
    const words = wordsOf(box.value);
    results.hidden = words.length === 0;
    list.replaceChildren();
    count.textContent = "";
    if (results.hidden) return;
    places = places || allPlaces();
    const found = places.map((place) => [fit(place, words), place]).filter(([points]) => points > 0).sort((a, b) => b[0] - a[0]);
    for (const [, place] of found.slice(0, MOST)) {
      const item = document.createElement("li"), link = document.createElement("a"), name = document.createElement("b");
      name.textContent = place.heading && place.heading !== place.title ? place.title + ": " + place.heading : place.title;
      link.href = place.address;
      link.append(name, excerpt(place, words));
      item.append(link);
      list.append(item);
    }
    const places_ = found.length === 1 ? "1 place" : found.length + " places";
    count.textContent = found.length === 0 ? "Nothing found. Try fewer letters, or one word." :
      found.length > MOST ? places_ + ", the best " + MOST + " of them here" : places_;
  }

  function close() {
    results.hidden = true;
  }

  form.hidden = false;
  box.addEventListener("input", search);
  box.addEventListener("focus", () => { if (box.value && results.hidden) search(); });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const first = list.querySelector("a");
    if (first) first.click();
  });
  list.addEventListener("click", close); // a place on this very page: nothing is loaded
  document.addEventListener("click", (event) => { if (!form.contains(event.target)) close(); });
  form.addEventListener("focusout", (event) => { if (event.relatedTarget && !form.contains(event.relatedTarget)) close(); });
  document.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll("a")], here = links.indexOf(document.activeElement);
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && document.activeElement !== box) {
      box.focus();
      box.select();
    } else if (event.key === "Escape" && !results.hidden) {
      box.focus();
      close();
    } else if (event.key === "ArrowDown" && form.contains(document.activeElement) && links.length) {
      links[Math.min(here + 1, links.length - 1)].focus();
    } else if (event.key === "ArrowUp" && here >= 0) {
      (links[here - 1] || box).focus();
    } else {
      return;
    }
    event.preventDefault();
  });

  // What is wider than its place can be scrolled by the keyboard, too.
  function reach() {
    for (const wide of document.querySelectorAll("pre, .table")) {
      if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
      else wide.removeAttribute("tabindex");
    }
  }
  addEventListener("resize", reach);
  addEventListener("toggle", reach, true); // a <details> was opened
  reach();
})();
