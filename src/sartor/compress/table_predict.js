
// What follows is the same for every model.

const KINDS = { f4: Float32Array, f8: Float64Array, i4: Int32Array };
const MISSING = new Set(ABOUT.missing);
const UNKNOWN = new Set(ABOUT.unknown);
const PLAIN = /^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?$/;
const ISO =
  /^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[T ]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?$/;
const DAY = 86400000;
const A = Object.fromEntries(Object.entries(ARRAYS).map(([name, [kind, text]]) => [name, decoded(kind, text)]));
const CODES = ABOUT.fields.map((field) => (field.kind === "category" ? known(field.levels) : null));
const NUMBERS = ABOUT.fields.reduce((sum, field) => sum + (field.kind === "category" ? 0 : field.parts ?? 1), 0);
const OUTPUTS = A.bias.length;
const CODED = A.columns_out.length / OUTPUTS;
const BENT = A.bend_start.length - A.bend_knots.length;
const KNOTS = BENT ? A.bend_knots.length / BENT : 0;

/** The labels, in the order of probabilities; empty where a value is foretold. */
export const labels = ABOUT.labels;

/** The columns that are read, in the order of `answers`. */
export const fields = ABOUT.fields;

/** Return {label, probabilities: {label: probability}}, or {value, low, high}, of a row {column: cell}. */
export function predict(row) {
  const found = answers(...prepare(row));
  if (!labels.length) return { value: found[0], low: found[1], high: found[2] };
  const best = found.reduce((most, value, at) => (value > found[most] ? at : most), 0);
  return { label: labels[best], probabilities: Object.fromEntries(labels.map((label, at) => [label, found[at]])) };
}

/** Return a row as numbers (NaN where missing) and codes of levels (-1 where there is none). */
export function prepare(row) {
  const numbers = new Float64Array(NUMBERS);
  const codes = [];
  ABOUT.fields.forEach((field, at) => {
    if (!Object.hasOwn(row, field.name)) {
      throw new Error(`The row has no column ${JSON.stringify(field.name)}. Give null where nothing is known.`);
    }
    const cell = row[field.name];
    if (field.kind === "category") codes.push(code(cell, CODES[at]));
    else if (field.kind === "date") numbers.set(dated(field.name, cell).slice(0, field.parts), field.at);
    else numbers[field.at] = number(field, cell);
  });
  return [numbers, codes];
}

/** Return probabilities in the order of labels, or [value, low, high], of a prepared row. */
export function answers(numbers, codes) {
  const coded = standardised(numbers, codes);
  const scores = Float64Array.from(A.bias);
  const units = Float32Array.from(A.units_bias);
  const weight = A.units_weight;
  for (let at = 0, place = 0; at < CODED; at++) {
    const cell = coded[at];
    add(scores, A.columns_out, at, cell);
    for (let unit = 0; unit < units.length; unit++) units[unit] += cell * weight[place++];
  }
  for (let unit = 0; unit < units.length; unit++) if (units[unit] > 0) add(scores, A.units_out, unit, units[unit]);
  for (let order = 1; order <= 3; order++) {
    const column = A[`products_${order}_column`];
    const above = A[`products_${order}_above`];
    const out = A[`products_${order}_out`];
    for (let at = 0, start = 0; start < column.length; at++, start += order) {
      let step = 0;
      while (step < order && coded[column[start + step]] > above[start + step]) step++;
      if (step === order) add(scores, out, at, 1);
    }
  }
  return A.warmth ? probabilities(scores) : value(scores[0]);
}

function probabilities(scores) {
  const logits = Array.from(
    scores,
    (s, at) => A.warmth[0] * s + A.warmth[1] * Math.log(Math.max(s, 0) + ABOUT.least) + A.logit_bias[at],
  );
  const largest = logits.reduce((most, logit) => Math.max(most, logit));
  const odds = logits.map((logit) => Math.exp(logit - largest));
  const sum = odds.reduce((total, one) => total + one);
  return odds.map((one) => one / sum);
}

function value(score) {
  const found = Math.min(Math.max(A.target[0] + A.target[1] * score, A.range[0]), A.range[1]);
  return [found, found - A.half[0], found + A.half[0]];
}

function add(scores, out, at, amount) {
  for (let output = 0; output < OUTPUTS; output++) scores[output] += amount * out[at * OUTPUTS + output];
}

/** Return coded columns in float32, and behind them their negatives. */
function standardised(numbers, codes) {
  const coded = new Float32Array(2 * CODED);
  const there = (number) => Math.abs(number) < ABOUT.huge; // not NaN
  let to = 0;
  A.number_slot.forEach((slot, at) => {
    let number = there(numbers[slot]) ? numbers[slot] : A.number_middle[at];
    if (at < BENT) number = bent(at, number);
    number = (number - A.number_mean[at]) / A.number_spread[at];
    coded[to++] = Math.min(Math.max(number, -ABOUT.largest), ABOUT.largest);
  });
  A.gap_slot.forEach((slot, at) => {
    coded[to++] = A.gap_values[2 * at + (there(numbers[slot]) ? 0 : 1)];
  });
  let table = 0;
  A.level_count.forEach((count, at) => {
    const width = A.level_width[at];
    const level = codes[at] >= 0 && codes[at] < count ? codes[at] : count;
    coded.set(A.level_table.subarray(table + level * width, table + (level + 1) * width), to);
    to += width;
    table += (count + 1) * width;
  });
  for (let at = 0; at < CODED; at++) coded[CODED + at] = -coded[at];
  return coded;
}

function bent(at, number) {
  let knot = 0;
  while (knot < KNOTS && number >= A.bend_knots[at * KNOTS + knot]) knot++;
  const place = at * (KNOTS + 1) + knot;
  return A.bend_slope[place] * (number - A.bend_start[place]) + A.bend_base[place];
}

function decoded(kind, text) {
  return new KINDS[kind](Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer);
}

// --- cells

/** Return the code of each level, and behind a line feed, which no level holds, of those that case does not tell. */
function known(levels) {
  const low = levels.map((level) => `\n${level.toLowerCase()}`);
  const counts = new Map();
  for (const name of low) counts.set(name, (counts.get(name) ?? 0) + 1);
  const found = new Map(low.map((name, at) => [name, at]).filter(([name]) => counts.get(name) === 1));
  levels.forEach((level, at) => found.set(level, at));
  return found;
}

function tidy(cell) {
  return String(cell).normalize("NFKC").trim().replace(/\s+/g, " ");
}

/** Return a cell as Sartor spells it; "" where it is missing. */
function spelled(cell) {
  if (cell === null || cell === undefined || Number.isNaN(cell)) return "";
  const text = tidy(cell);
  return MISSING.has(text.toLowerCase()) ? "" : text;
}

function code(cell, levels) {
  const text = spelled(cell);
  return text ? levels.get(text) ?? levels.get(`\n${text.toLowerCase()}`) ?? -1 : -1;
}

function number(field, cell) {
  if (typeof cell === "number" || typeof cell === "boolean" || typeof cell === "bigint") return Number(cell);
  if (field.kind === "boolean" && typeof cell === "string") {
    const said = tidy(cell).toLowerCase(); // a spelling of "missing" may say no here
    if (Object.hasOwn(field.truths, said)) return field.truths[said];
  }
  const text = spelled(cell);
  if (!text || UNKNOWN.has(text.toLowerCase())) return NaN;
  if (field.kind === "boolean" || !PLAIN.test(text) || (field.comma && text.includes("."))) {
    const what = field.kind === "boolean" ? "says neither yes nor no" : "is no plain number";
    throw new Error(`The cell ${JSON.stringify(cell)} of ${JSON.stringify(field.name)} ${what}.`);
  }
  return Number(text);
}

/** Return the numbers that a date is: days since 2000, sine and cosine of its place in the year, weekday, hour. */
function dated(name, cell) {
  const text = cell instanceof Date ? cell.toISOString() : spelled(cell);
  if (!text || UNKNOWN.has(text.toLowerCase())) return [NaN, NaN, NaN, NaN, NaN];
  const [year, month, day, hour, minute, second] = (ISO.exec(text) ?? []).slice(1).map((part) => Number(part ?? 0));
  const time = new Date(0);
  time.setUTCFullYear(year, month - 1, day);
  if (!(year >= 1 && time.getUTCMonth() === month - 1 && time.getUTCDate() === day && hour < 24 && minute < 60 && second < 60)) {
    throw new Error(`The cell ${JSON.stringify(cell)} of ${JSON.stringify(name)} is no ISO date, as 2021-03-31.`);
  }
  const begins = new Date(0).setUTCFullYear(year, 0, 1);
  const length = (new Date(0).setUTCFullYear(year + 1, 0, 1) - begins) / DAY;
  const days = Math.round((time.getTime() - Date.UTC(2000, 0, 1)) / DAY);
  const hours = hour + minute / 60 + second / 3600;
  const angle = 2 * Math.PI * (((time.getTime() - begins) / DAY + hours / 24) / length);
  return [days + hours / 24, Math.sin(angle), Math.cos(angle), (((days + 5) % 7) + 7) % 7, hours];
}
