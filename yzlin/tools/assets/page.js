// The page: what is touched, drawn and said. Text from the model or a reader goes in as textContent, never as HTML.

const BARS = 10;
const LONGEST = 10000; // characters of a beginning
const AT_MOST = 300; // tokens written at one press
const element = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function startPage() {
  const given = JSON.parse(element("model").textContent);
  let language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
  let tokenizer, model;
  let ids = []; // the end-of-story sign, then the whole text
  let groups = []; // of tokens: whole characters
  let own = 0; // how many of the ids are the reader's
  let place = 0; // the group that is looked at
  let logits = null; // after it
  let turn = 0; // a new one ends what is still being computed
  let writing = false;
  let wroteFrom = 0; // the first of the ids that were written last
  let status = ["loading", {}];

  const say = (word, values = {}) => WORDS[language][word].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const number = (value) => value.toLocaleString(language);
  const percent = (share) => `${(100 * share).toLocaleString(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 })}%`;

  /** A token as a reader can see it: blanks and line ends have signs, bytes that are no character are hexadecimal. */
  function shown(tokens) {
    if (tokens[0] === tokenizer.eot) return say("end");
    const text = tokenizer.decode(tokens);
    if (!text.includes("\ufffd")) return text.replace(/\n/g, "⏎").replace(/ /g, "·");
    const bytes = [...tokens.map((id) => tokenizer.tokens[id]).join("")];
    return bytes.map((byte) => byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")).join(" ");
  }
  const shownGroup = (group) => (group.start === 0 ? say("start") : shown(ids.slice(group.start, group.end)));

  /** What a screen reader says of a token: a blank before a word needs no word. */
  const spoken = (text) => text.replace(/^·(?=.)/, "").replace(/·/g, ` ${say("blank")} `);

  function setStatus(word, values = {}) {
    status = [word, values];
    element("status").textContent = say(word, values);
  }

  /** Reads the ids without holding the page up. False if something newer has begun. */
  async function think(tokens, mine) {
    let until = performance.now() + 25;
    for (const _ of model.read(tokens)) {
      if (performance.now() < until) continue;
      await pause(0);
      if (turn !== mine) return false;
      until = performance.now() + 25;
    }
    return true;
  }

  const temperature = () => Number(element("temperature").value);
  const topK = () => (Number(element("top-k").value) > 100 ? model.n_vocab : Number(element("top-k").value));

  /** Lets the model write until the story ends, `count` tokens are made, or something else is asked for. */
  async function write(count) {
    const mine = ++turn;
    const slowly = count > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches; // so that it can be watched
    wroteFrom = ids.length;
    writing = true;
    setStatus("reading");
    drawButtons();
    while (ids.length - wroteFrom < count) {
      await pause(slowly ? 12 : 0);
      if (turn !== mine || !(await think(ids, mine))) return;
      if (ids.length === wroteFrom) setStatus("writing");
      const token = draw(spread(model.logits, temperature(), topK()), Math.random());
      if (token === tokenizer.eot) return rest("ended");
      ids.push(token);
      drawStory();
      place = groups.length - 1;
      drawPlace();
      element("story").scrollTop = element("story").scrollHeight;
    }
    rest("paused");
  }

  /** Nothing is being written any more; the reason is said, and what was written is read out. */
  function rest(reason) {
    writing = false;
    drawButtons();
    setStatus(reason, { count: number(ids.length - own) });
    element("said").textContent = tokenizer.decode(ids.slice(wroteFrom));
    look(groups.length - 1);
  }

  function begin() {
    const text = element("beginning").value;
    if (text.length > LONGEST) return setStatus("tooLong", { count: number(text.length), most: number(LONGEST) });
    ids = [tokenizer.eot, ...tokenizer.encode(text)];
    own = ids.length;
    drawStory();
    write(AT_MOST);
  }

  /** Looks at a group: what may come next, and where its last token looks back. */
  async function look(wanted) {
    const mine = ++turn;
    place = Math.max(0, Math.min(wanted, groups.length - 1));
    drawPlace();
    if (!(await think(ids.slice(0, groups[place].end), mine))) return;
    logits = model.logits.slice();
    drawBars();
    drawAttention();
  }

  /** Takes a token behind the place that is looked at; what stood there is dropped. */
  function take(token) {
    if (writing || !logits) return;
    ids = ids.slice(0, groups[place].end);
    own = Math.min(own, ids.length);
    const text = shown([token]);
    if (token === tokenizer.eot) setStatus("ended", { count: number(ids.length - own) });
    else {
      ids.push(token);
      setStatus("taken", { text });
    }
    drawStory();
    look(groups.length - 1);
  }

  // ---- drawing

  function drawButtons() {
    element("write").textContent = say(writing ? "stop" : "write");
    for (const id of ["more", "one"]) element(id).setAttribute("aria-disabled", String(writing || !model));
    element("write").setAttribute("aria-disabled", String(!model));
  }

  function drawStory() {
    groups = tokenizer.groups(ids);
    const story = element("story");
    while (story.children.length > groups.length) story.lastChild.remove();
    groups.forEach((group, i) => {
      const span = story.children[i] ?? story.appendChild(document.createElement("span"));
      const text = i === 0 ? say("start") : group.text;
      if (span.textContent !== text) {
        const [blank, rest] = /^( ?)([^]+)/.exec(text)?.slice(1) ?? ["", text]; // a blank is not shaded: it may end a line
        const word = document.createElement("i");
        word.textContent = rest;
        span.replaceChildren(blank, word);
      }
      span.className = i === 0 ? "sign" : group.start < own ? "given" : "";
      span.style.removeProperty("--share");
    });
    story.lang = /\p{Script=Han}/u.test(tokenizer.decode(ids)) ? "zh" : "en";
    logits = null;
  }

  /** The frame around the place, and the fading of what lies outside of its window. */
  function drawPlace() {
    const first = Math.max(0, groups[place].end - model.block_size);
    [...element("story").children].forEach((span, i) => {
      span.classList.toggle("here", i === place);
      span.classList.toggle("outside", groups[i].start < first);
    });
    element("outside").textContent = first ? say("outside", { count: number(first), window: number(model.block_size) }) : "";
    const slider = element("place");
    slider.max = groups.length - 1;
    slider.value = place;
    const values = { place: number(place + 1), count: number(groups.length), text: spoken(shownGroup(groups[place])) };
    slider.setAttribute("aria-valuetext", say("placeValue", values));
  }

  function row(list, i, tag) {
    const item = list.children[i] ?? list.appendChild(document.createElement("li"));
    if (item.children.length) return tag ? item.firstChild : item;
    const holder = tag ? item.appendChild(document.createElement(tag)) : item;
    for (const name of ["word", "track", "share"]) holder.appendChild(document.createElement("span")).className = name;
    holder.children[1].appendChild(document.createElement("span")).className = "fill";
    return holder;
  }

  function fill(holder, text, share) {
    holder.children[0].textContent = text;
    holder.children[1].firstChild.style.width = `${100 * share}%`;
    holder.children[2].textContent = percent(share);
  }

  /** The likeliest tokens after the place, with the shares from which one is drawn: true to scale from 0 to 100%. */
  function drawBars() {
    element("temperature-value").textContent = number(temperature());
    element("top-k-value").textContent = topK() === model.n_vocab ? say("all") : number(topK());
    if (!logits) return;
    element("after").textContent = say("after", { text: shownGroup(groups[place]) });
    const { ids: drawn, shares } = spread(logits, temperature(), topK());
    const actual = ids[groups[place].end];
    likeliest(logits, BARS).forEach((id, i) => {
      const button = row(element("bars"), i, "button");
      const share = drawn[i] === id ? shares[i] : 0;
      const text = shown([id]);
      fill(button, text, share);
      if (share === 0) button.children[2].textContent = "–"; // cut off by top-k
      button.type = "button";
      button.className = (id === actual ? "same " : "") + (share === 0 ? "cut" : "");
      button.setAttribute("aria-label", say(id === actual ? "takeSame" : "take", { text: spoken(text), share: percent(share) }));
      button.onclick = () => take(id);
    });
  }

  function drawAttention() {
    if (!logits) return;
    const end = groups[place].end;
    const first = Math.max(0, end - model.block_size);
    const shares = model.attention(Number(element("layer").value), Number(element("head").value));
    const of = groups.map((group, i) => {
      let sum = 0;
      for (let t = group.start; t < group.end; t++) if (t >= first && i <= place) sum += shares[t - first];
      return sum;
    });
    const most = Math.max(...of);
    [...element("story").children].forEach((span, i) => span.style.setProperty("--share", `${(60 * of[i]) / most}%`));
    element("darkest").textContent = say("darkest", { text: shownGroup(groups[place]), share: percent(most) });
    const order = of.map((_, i) => i).sort((a, b) => of[b] - of[a]).slice(0, 5).filter((i) => of[i] > 0);
    const list = element("looked");
    while (list.children.length > order.length) list.lastChild.remove();
    order.forEach((i, n) => fill(row(list, n), shownGroup(groups[i]), of[i]));
  }

  function options(select, pairs) {
    const chosen = select.value;
    select.replaceChildren(...pairs.map(([text, value]) => new Option(text, value)));
    if (pairs.some(([, value]) => String(value) === chosen)) select.value = chosen;
  }

  /** Every word of the page anew, in the language that is chosen. */
  function drawWords() {
    document.documentElement.lang = language;
    document.title = say("title");
    for (const node of document.querySelectorAll("[data-word]")) node.textContent = say(node.dataset.word);
    element("language").lang = language === "zh" ? "en" : "zh";
    const parts = (size) => (given.parameters / size).toLocaleString(language, { maximumSignificantDigits: 3 });
    element("about").textContent = say("about", { name: given.name, millions: parts(1e6), tenThousands: parts(1e4) });
    options(element("picked"), [[say("own"), "own"], ...given.beginnings.map((text, i) => [text || say("nothing"), i])]);
    const numbers = (count) => Array.from({ length: count }, (_, i) => [number(i + 1), i]);
    options(element("layer"), numbers(given.args.n_layer));
    options(element("head"), [[say("mean"), -1], ...numbers(given.args.n_head)]);
    setStatus(...status);
    drawButtons();
    if (!model) return;
    if (groups.length) {
      element("story").querySelector("i").textContent = say("start");
      drawPlace();
    }
    drawBars();
    drawAttention();
  }

  // ---- what is touched

  function listen() {
    const on = (id, event, action) => element(id).addEventListener(event, action);
    on("language", "click", () => {
      language = language === "zh" ? "en" : "zh";
      drawWords();
    });
    on("picked", "change", () => {
      const text = given.beginnings[element("picked").value];
      if (text !== undefined) element("beginning").value = text;
    });
    on("beginning", "input", () => (element("picked").value = "own"));
    on("write", "click", () => model && (writing ? rest("stopped") : begin()));
    on("more", "click", () => model && !writing && write(AT_MOST));
    on("one", "click", () => model && !writing && write(1));
    on("place", "input", () => model && !writing && look(Number(element("place").value)));
    on("story", "click", (event) => {
      const touched = [...element("story").children].indexOf(event.target.closest("#story > span"));
      if (touched >= 0 && !writing) look(touched);
    });
    for (const id of ["temperature", "top-k"]) on(id, "input", () => model && drawBars());
    for (const id of ["layer", "head"]) on(id, "change", drawAttention);
    document.addEventListener("keydown", (event) => event.key === "Escape" && writing && rest("stopped"));
  }

  async function load() {
    const weights = {};
    for (const name of given.weights) {
      const data = element(name);
      weights[name] = fromFloat16(data.textContent);
      data.remove();
      await pause(0); // so that the page is drawn meanwhile
    }
    tokenizer = new Tokenizer(element("tokens").textContent);
    model = new Model(given.args, (name) => weights[name]);
    ids = [tokenizer.eot];
    own = 1;
    drawStory();
    setStatus("ready");
    drawWords();
    await look(0);
  }

  listen();
  element("beginning").value = given.beginnings[0] ?? "";
  drawWords();
  if (given.beginnings.length) element("picked").value = 0;
  load().catch((error) => setStatus("broken", { reason: error.message }));
}

if (typeof document !== "undefined") startPage();
