"use strict";
// The engine of the page: tokenizer, model, sampling. Nothing here touches the document, so the tests run these very lines in Node.

// GPT-2's split pattern, as in yzlin/tokenizer.py. A blank is Unicode's White_Space: JavaScript's own \s is another set.
const SPLIT = new RegExp(
  "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
    "|\\p{White_Space}+$|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}",
  "gu",
);

/** Byte-level BPE. Bytes are kept as strings of the letters 0 to 255, which a Map can look up. */
class Tokenizer {
  /** lines: one token per line in base64, in the order of the ranks. The end-of-story id comes after the last. */
  constructor(lines) {
    this.tokens = lines.trim().split("\n").map(atob);
    this.ranks = new Map(this.tokens.map((token, rank) => [token, rank]));
    this.eot = this.tokens.length;
  }

  encode(text) {
    const utf8 = new TextEncoder();
    const ids = [];
    for (const [piece] of text.matchAll(SPLIT)) {
      const bytes = Array.from(utf8.encode(piece), (byte) => String.fromCharCode(byte)).join("");
      const rank = this.ranks.get(bytes);
      if (rank === undefined) ids.push(...this.merge(bytes));
      else ids.push(rank);
    }
    return ids;
  }

  /** Merges the two neighbours whose union has the lowest rank, the leftmost first, until no union is a token. */
  merge(bytes) {
    const cuts = Array.from({ length: bytes.length + 1 }, (_, place) => place);
    const union = (i) => (i + 2 < cuts.length ? this.ranks.get(bytes.slice(cuts[i], cuts[i + 2])) : undefined) ?? Infinity;
    const unions = cuts.map((_, i) => union(i));
    for (;;) {
      let best = 0;
      for (let i = 1; i < unions.length; i++) if (unions[i] < unions[best]) best = i;
      if (unions[best] === Infinity) break;
      cuts.splice(best + 1, 1);
      unions.splice(best + 1, 1);
      unions[best] = union(best);
      if (best > 0) unions[best - 1] = union(best - 1);
    }
    return cuts.slice(1).map((cut, i) => this.ranks.get(bytes.slice(cuts[i], cut)));
  }

  decode(ids) {
    const bytes = ids.map((id) => this.tokens[id] ?? "").join("");
    return new TextDecoder().decode(Uint8Array.from(bytes, (letter) => letter.charCodeAt(0)));
  }

  /** The tokens in groups [start, end) of whole characters: a Chinese character may be three tokens. */
  groups(ids) {
    const groups = [];
    let start = 0;
    let bytes = "";
    for (let end = 1; end <= ids.length; end++) {
      bytes += this.tokens[ids[end - 1]] ?? "";
      if (end < ids.length && end - start < 4 && unfinished(bytes)) continue;
      groups.push({ start, end, text: this.decode(ids.slice(start, end)) });
      start = end;
      bytes = "";
    }
    return groups;
  }
}

/** Do the bytes stop inside of a UTF-8 character? */
function unfinished(bytes) {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes.charCodeAt(bytes.length - back);
    if (byte < 0x80) return false;
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2);
  }
  return false;
}

/** Numbers of 16 bits, little-endian, in base64 -> Float32Array. */
function fromFloat16(base64) {
  const bytes = atob(base64);
  const out = new Float32Array(bytes.length / 2);
  for (let i = 0; i < out.length; i++) {
    const bits = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
    const exponent = (bits >> 10) & 31;
    const size = exponent ? 2 ** (exponent - 25) * (1024 + (bits & 1023)) : 2 ** -24 * (bits & 1023);
    out[i] = bits & 0x8000 ? -size : size;
  }
  return out;
}

/** The product of row `row` of a matrix and the vector x, from x's length in numbers. */
function dot(matrix, row, x) {
  const n = x.length;
  const start = row * n;
  let a = 0, b = 0, c = 0, d = 0, i = 0;
  for (; i + 3 < n; i += 4) {
    a += matrix[start + i] * x[i];
    b += matrix[start + i + 1] * x[i + 1];
    c += matrix[start + i + 2] * x[i + 2];
    d += matrix[start + i + 3] * x[i + 3];
  }
  for (; i < n; i++) a += matrix[start + i] * x[i];
  return a + b + c + d;
}

function linear(out, weight, bias, x) {
  for (let row = 0; row < out.length; row++) out[row] = dot(weight, row, x) + (bias ? bias[row] : 0);
}

function rmsNorm(out, weight, x) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
  const scale = 1 / Math.sqrt(sum / x.length + 1e-6);
  for (let i = 0; i < x.length; i++) out[i] = weight[i] * x[i] * scale;
}

function addTo(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

/** yzlinGPT, one token at a time. Keys and values of the tokens seen are kept. */
class Model {
  /** args: yzlin's ModelArgs, and n_vocab, the ids that mean something. weight(name) -> Float32Array, or undefined. */
  constructor(args, weight) {
    Object.assign(this, args);
    const C = this.n_embed;
    const part = (name) => ({ weight: weight(name + ".weight"), bias: weight(name + ".bias") });
    this.tokenEmbedding = weight("transformer.token_embedding.weight");
    this.positionEmbedding = weight("transformer.position_embedding.weight");
    this.norm = weight("transformer.norm.weight");
    this.blocks = Array.from({ length: this.n_layer }, (_, layer) => {
      const name = `transformer.blocks.${layer}.`;
      return {
        attentionNorm: weight(name + "attention_norm.weight"),
        mlpNorm: weight(name + "mlp_norm.weight"),
        qkv: part(name + "attention.qkv_attention"),
        projection: part(name + "attention.context_projection"),
        up: part(name + "mlp.up_projection"),
        gate: part(name + "mlp.gate"),
        down: part(name + "mlp.down_projection"),
        keys: new Float32Array(this.block_size * C),
        values: new Float32Array(this.block_size * C),
        shares: new Float32Array(this.n_head * this.block_size), // of attention, of the token computed last
      };
    });
    this.seen = []; // the tokens whose keys and values are kept
    this.x = new Float32Array(C);
    this.y = new Float32Array(C);
    this.normed = new Float32Array(C);
    this.qkv = new Float32Array(3 * C);
    this.hidden = new Float32Array(4 * C);
    this.logits = new Float32Array(this.n_vocab);
  }

  /** Reads the last block_size of the ids and leaves the next token's logits. Yields between tokens, so that a page stays awake.
   *
   * What was kept for the same tokens at the same places is used. Past the window all places shift, and nothing kept is right.
   */
  *read(ids) {
    const window = ids.slice(-this.block_size);
    const last = window.length - 1;
    let t = 0;
    while (t < last && window[t] === this.seen[t]) t++;
    for (; t <= last; t++) {
      this.step(window[t], t, t === last);
      if (this.seen[t] !== window[t]) {
        this.seen.length = t;
        this.seen.push(window[t]);
      }
      if (t < last) yield;
    }
    rmsNorm(this.normed, this.norm, this.x);
    linear(this.logits, this.tokenEmbedding, undefined, this.normed); // the head is the token embedding
  }

  /** The same without a pause; returns the logits. */
  next(ids) {
    for (const _ of this.read(ids));
    return this.logits;
  }

  step(token, t, isLast) {
    const C = this.n_embed;
    for (let i = 0; i < C; i++) this.x[i] = this.tokenEmbedding[token * C + i] + this.positionEmbedding[t * C + i];
    for (const [layer, block] of this.blocks.entries()) {
      rmsNorm(this.normed, block.attentionNorm, this.x);
      linear(this.qkv, block.qkv.weight, block.qkv.bias, this.normed);
      block.keys.set(this.qkv.subarray(C, 2 * C), t * C);
      block.values.set(this.qkv.subarray(2 * C), t * C);
      if (!isLast && layer === this.n_layer - 1) return; // of an earlier token later ones need keys and values alone
      this.attend(block, t);
      linear(this.normed, block.projection.weight, block.projection.bias, this.y);
      addTo(this.x, this.normed);
      rmsNorm(this.normed, block.mlpNorm, this.x);
      this.mlp(block);
      addTo(this.x, this.y);
    }
  }

  /** The query of place t looks at the keys up to t: the mixed values in this.y, the shares in block.shares. */
  attend(block, t) {
    const C = this.n_embed;
    const D = C / this.n_head;
    this.y.fill(0);
    for (let head = 0; head < this.n_head; head++) {
      const from = head * D;
      const shares = block.shares.subarray(head * this.block_size, head * this.block_size + t + 1);
      let most = -Infinity;
      for (let s = 0; s <= t; s++) {
        let score = 0;
        for (let i = 0; i < D; i++) score += this.qkv[from + i] * block.keys[s * C + from + i];
        shares[s] = score / Math.sqrt(D);
        most = Math.max(most, shares[s]);
      }
      let sum = 0;
      for (let s = 0; s <= t; s++) sum += shares[s] = Math.exp(shares[s] - most);
      for (let s = 0; s <= t; s++) {
        shares[s] /= sum;
        for (let i = 0; i < D; i++) this.y[from + i] += shares[s] * block.values[s * C + from + i];
      }
    }
  }

  /** down(relu(gate(x)) * up(x)): where the gate is shut, `up` need not be computed. */
  mlp({ gate, up, down }) {
    linear(this.hidden, gate.weight, gate.bias, this.normed);
    for (let j = 0; j < this.hidden.length; j++) {
      if (this.hidden[j] > 0) this.hidden[j] *= dot(up.weight, j, this.normed) + (up.bias ? up.bias[j] : 0);
      else this.hidden[j] = 0;
    }
    linear(this.y, down.weight, down.bias, this.hidden);
  }

  /** How the token read last shares out its attention over the window, in one layer; head -1 is the mean of all heads. */
  attention(layer, head) {
    const T = this.block_size;
    const row = (h) => this.blocks[layer].shares.subarray(h * T, (h + 1) * T);
    if (head >= 0) return row(head).slice();
    const mean = new Float32Array(T);
    for (let h = 0; h < this.n_head; h++) addTo(mean, row(h));
    return mean.map((share) => share / this.n_head);
  }
}

/** The ids of the `count` largest logits, the largest first; of equal ones the first. */
function likeliest(logits, count) {
  const least = Float32Array.from(logits).sort()[Math.max(0, logits.length - count)];
  const ids = [];
  for (let id = 0; id < logits.length; id++) if (logits[id] >= least) ids.push(id);
  return ids.sort((a, b) => logits[b] - logits[a] || a - b).slice(0, count);
}

/** What is drawn from: {ids, shares} of the topK likeliest, the likeliest first. Temperature 0: the likeliest alone. */
function spread(logits, temperature, topK) {
  const ids = likeliest(logits, temperature === 0 ? 1 : topK);
  if (temperature === 0) return { ids, shares: [1] };
  const weights = ids.map((id) => Math.exp((logits[id] - logits[ids[0]]) / temperature));
  const sum = weights.reduce((a, b) => a + b);
  return { ids, shares: weights.map((weight) => weight / sum) };
}

/** One id of a spread; chance is a number from 0 to 1. */
function draw({ ids, shares }, chance) {
  let place = 0;
  for (chance -= shares[0]; chance >= 0 && place < ids.length - 1; chance -= shares[++place]);
  return ids[place];
}
