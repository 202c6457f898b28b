"use strict";
// One slide at a time. What a presenter does is in `keys`; the address holds the slide, as in #/7.
const find = (selector, where = document) => [...where.querySelectorAll(selector)];
const part = (id) => document.getElementById(id);
const root = document.documentElement;
const slides = find(".slide");
const titles = slides.map((slide) => slide.getAttribute("aria-label").replace(/^[^:]*: /, ""));
let now = 0;
let typed = ""; // digits of a jump
let talk = null; // the presenter's window
const began = Date.now();

root.classList.add("js");
root.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => root.classList.toggle("dark", event.matches));

// The largest letters with which a slide fits and no line of code is broken; code has at least 0.9 rem. Then it scrolls.
function fit(slide) {
  const body = find(".body", slide)[0];
  const lines = find("pre", body).flatMap((pre) => pre.textContent.split("\n"));
  const columns = Math.max(1, ...lines.map((line) => (line.length > 115 ? 100 : line.length))); // a longer one is broken anyway
  const widest = (body.clientWidth / parseFloat(getComputedStyle(root).fontSize) - 1.7) / columns / 0.605; // 0.605: a letter
  const [picture, code] = ["img", "pre"].map((tag) => find(tag, body).length > 0);
  const sizes = picture ? [1, 0.95, 0.9] : [...(code ? [] : [1.4]), 1.3, 1.2, 1.1, 1, 0.95, 0.9];
  for (const [tight, size] of [...sizes.filter((size) => size < widest || size === 0.9).map((size) => [0, size]), [1, 0.9]]) {
    body.style.setProperty("--code", `${size}rem`);
    body.style.setProperty("--text", `${tight ? 1.2 : Math.min(code ? 1.5 : 1.8, 0.4 + size)}rem`);
    body.classList.toggle("tight", Boolean(tight));
    if (body.scrollHeight <= body.clientHeight) break;
  }
  // A picture stands at the left of its box: on a dark page, no white beside it.
  for (const image of find("img", body)) {
    const scale = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
    image.style.clipPath = `inset(0 ${image.clientWidth - scale * image.naturalWidth}px 0 0 round 0.3rem)`;
  }
}

async function show(number, whole = false) {
  now = Math.max(0, Math.min(slides.length - 1, number));
  const slide = slides[now];
  slides.forEach((each) => each.classList.toggle("now", each === slide));
  find(".fragment", slide).forEach((each) => each.classList.toggle("seen", whole));
  find(".body", slide)[0].scrollTop = 0;
  history.replaceState(null, "", `#/${now + 1}`);
  part("where").textContent = `${now + 1} / ${slides.length}`;
  part("said").textContent = `Slide ${now + 1} of ${slides.length}: ${titles[now]}`;
  speak();
  await Promise.all(find("img", slide).map((image) => image.decode().catch(() => {})));
  fit(slide);
}

function on() {
  const next = find(".fragment:not(.seen)", slides[now])[0];
  if (next) next.classList.add("seen");
  else if (now < slides.length - 1) show(now + 1);
}

function back() {
  const last = find(".fragment.seen", slides[now]).pop();
  if (last) last.classList.remove("seen");
  else if (now > 0) show(now - 1, true);
}

// The notes of this slide, in the pane below it and in the presenter's window.
function speak() {
  const notes = () => find(".notes", slides[now])[0].cloneNode(true).childNodes;
  part("pane").replaceChildren(...notes());
  part("pane").scrollTop = 0;
  if (!talk || talk.closed) return;
  const page = talk.document;
  page.getElementById("place").textContent = `${now + 1} / ${slides.length}: ${titles[now]}`;
  page.getElementById("next").textContent = now + 1 < slides.length ? `Next: ${titles[now + 1]}` : "The last slide";
  page.getElementById("text").replaceChildren(...[...notes()].map((node) => page.importNode(node, true)));
}

function pane() {
  part("pane").hidden = !part("pane").hidden;
  root.classList.toggle("noted", !part("pane").hidden);
  fit(slides[now]);
}

// Written from here, not loaded, so that it works for a file on a disk, too. Keys pressed in it count here.
function open_talk() {
  if (talk && !talk.closed) return talk.focus();
  talk = window.open("", "", "width=900,height=700");
  if (!talk) return part("pane").hidden && pane(); // the browser allows no windows
  const page = talk.document;
  const make = (tag, id, where) => where.appendChild(Object.assign(page.createElement(tag), { id }));
  page.documentElement.className = root.classList.contains("dark") ? "talk dark" : "talk";
  page.title = `Notes: ${document.title}`;
  page.head.appendChild(page.createElement("style")).textContent = find("style")[0].textContent;
  const header = make("header", "", page.body);
  ["place", "clock", "next"].forEach((id) => make("span", id, header));
  make("main", "text", page.body);
  page.addEventListener("keydown", press);
  speak();
}

setInterval(() => {
  if (!talk || talk.closed) return;
  const seconds = Math.floor((Date.now() - began) / 1000);
  talk.document.getElementById("clock").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}, 1000);
addEventListener("pagehide", () => talk && talk.close());

function contents() {
  const list = find("#contents ol")[0];
  list.replaceChildren(...titles.map((title, number) => {
    const link = Object.assign(document.createElement("a"), { href: `#/${number + 1}`, textContent: title });
    if (number === now) link.setAttribute("aria-current", "true");
    link.addEventListener("click", () => part("contents").close());
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
  part("contents").showModal();
}

const full = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen().catch(() => {}));
const keys = {
  ArrowRight: on, ArrowDown: on, " ": on, PageDown: on,
  ArrowLeft: back, ArrowUp: back, PageUp: back,
  Home: () => show(0), End: () => show(slides.length - 1),
  n: pane, s: open_talk, o: contents, f: full, d: () => root.classList.toggle("dark"), "?": () => part("help").showModal(),
};

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]").length) return;
  if ((event.key === " " || event.key === "Enter") && event.target.closest("a, button") && !typed) return;
  const reads = event.target.ownerDocument !== document || event.target === part("pane");
  if (reads && /^Arrow(Up|Down)$/.test(event.key)) return; // scrolls the notes
  if (/^\d$/.test(event.key)) typed += event.key;
  else {
    if (event.key === "Enter" && typed) show(Number(typed) - 1);
    typed = "";
    const does = keys[event.key.length > 1 ? event.key : event.key.toLowerCase()];
    if (!does) return;
    event.preventDefault();
    does();
  }
}

addEventListener("keydown", press);
addEventListener("resize", () => fit(slides[now]));
addEventListener("hashchange", () => from_address());
addEventListener("beforeprint", () => slides.forEach((slide) => {
  slide.classList.add("now");
  fit(slide);
}));
addEventListener("afterprint", () => show(now));
part("on").addEventListener("click", on);
part("back").addEventListener("click", back);
part("keys").addEventListener("click", () => part("help").showModal());

let touch = null;
addEventListener("touchstart", (event) => (touch = event.touches.length === 1 ? event.touches[0] : null), { passive: true });
addEventListener("touchend", (event) => {
  if (!touch) return;
  const [across, down] = [event.changedTouches[0].clientX - touch.clientX, event.changedTouches[0].clientY - touch.clientY];
  if (Math.abs(across) > 50 && Math.abs(across) > 2 * Math.abs(down)) (across < 0 ? on : back)();
});

function from_address() {
  const number = Number((location.hash.match(/^#\/(\d+)$/) || [0, 1])[1]) - 1;
  if (number !== now || !slides[now].classList.contains("now")) show(number);
}
from_address();
part("deck").focus();
