// The page of a Lightmeter server: pictures in, answers out. It loads nothing from elsewhere and keeps nothing.
"use strict";

const AT_ONCE = 2; // requests under way
const SHOWN = 5; // classes of each answer
const ALIKE = 5; // training pictures beside an explanation
const one = (selector, place = document) => place.querySelector(selector);
const KEPT = 896; // pixels of a preview's longer side at most: many photographs at full size would fill the memory
const answers = []; // {file, model, label, probability, note}, in the order in which they came
let key = "";
let cards = {}; // of the models, by name
let waiting = []; // pictures that were not sent yet
let locked = []; // pictures that were refused for want of a key
let underWay = 0;
let round = 0; // counts how often the list was cleared, so that what was asked before does not come back

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  const document_ = await response.json().catch(() => ({ detail: `The server answered ${response.status}.` }));
  if (response.status === 401) one("#ask-key").hidden = false;
  if (!response.ok) throw Object.assign(new Error(document_.detail), { problem: document_, response });
  return document_;
}

const percent = (share) => `${(100 * share).toFixed(share > 0.0995 && share < 0.9995 ? 1 : 2)} %`;

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

async function start() {
  try {
    const { models, default: first } = await ask("v1/models");
    cards = Object.fromEntries(await Promise.all(models.map(async ({ name }) =>
      [name, await ask(`v1/models/${encodeURIComponent(name)}`)])));
    one("#model").replaceChildren(...models.map(({ name }) => new Option(name, name, name === first, name === first)));
    one("#choose").hidden = models.length < 2;
    one("#ask-key").hidden = true;
    describe();
    waiting.push(...locked.splice(0));
    send();
  } catch (error) {
    const closed = error.problem?.code === "unauthorized";
    one("#what").textContent = !closed ? error.message : key ? "This key is not known." : "A key is needed.";
  }
}

function describe() {
  const card = cards[one("#model").value];
  const some = card.classes.slice(0, 6).join(", ");
  one("#what").textContent = `Tells ${card.classes.length} classes apart: ${some}${card.classes.length > 6 ? ", …" : ""}`;
  const { test = {}, calibration: found } = card.scores;
  const facts = {
    "Classes": card.classes.join(", "),
    "Test accuracy": test.accuracy === undefined ? "not measured"
      : `${percent(test.accuracy)} on ${test.n.toLocaleString("en")} pictures (${percent(test.low)} to ${percent(test.high)})`,
    "Sees": `${card.preprocess.size} × ${card.preprocess.size} pixels, ${card.preprocess.channels === 1 ? "grey" : "colour"}`,
    "Probabilities": card.temperature === 1 ? "as the network gives them" : "calibrated on held-out pictures",
    "Not sure below": percent(card.abstain_below) + (found?.reached
      ? `, above which at most ${percent(found.target_error)} should be wrong` : ""),
    "Made": card.created,
    "Started from": card.provenance.start ?? "unknown",
    "Bundle": card.bundle,
  };
  one("#facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) =>
    [element("dt", name), element("dd", value)]));
}

function take(files) {
  const pictures = [...files].filter((file) => file.size);
  for (const file of pictures) waiting.push({ file, card: show(file) });
  send();
}

function show(file) {
  const made = one("#picture").content.cloneNode(true).firstElementChild;
  one("figcaption", made).textContent = file.name;
  one("h3", made).textContent = "…";
  one(".why", made).disabled = true;
  one("#cards").prepend(made);
  return made;
}

async function send() {
  while (waiting.length && underWay < AT_ONCE) {
    const { file, card } = waiting.shift();
    const mine = round;
    underWay += 1;
    status();
    draw(card, file, null, 0);
    predict(file, false)
      .then((answer) => mine === round && filled(card, file, answer), (error) => mine === round && refused(card, file, error))
      .finally(() => { underWay -= 1; status(); send(); });
  }
}

async function predict(file, explain, model = one("#model").value, tries = 5) {
  const card = cards[model];
  const query = new URLSearchParams({ topk: Math.min(SHOWN, card?.classes.length ?? 1), model, explain });
  if (explain && card?.examples) query.set("neighbours", Math.min(ALIKE, card.examples));
  try {
    return await ask(`v1/predict?${query}`, {
      method: "POST", body: file, headers: { "Content-Type": file.type.startsWith("image/") ? file.type : "image/*" },
    });
  } catch (error) {
    if (error.response?.status !== 429 || !tries) throw error;
    const seconds = Number(error.response.headers.get("Retry-After")) || 1;
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    return predict(file, explain, model, tries - 1);
  }
}

function filled(card, file, answer) {
  const [prediction] = answer.predictions;
  one("h3", card).textContent = prediction.abstain ? "Not sure" : prediction.label;
  const unsure = one(".unsure", card);
  unsure.hidden = !prediction.abstain;
  unsure.textContent = prediction.reason;
  one(".bars", card).replaceChildren(...prediction.top.map(([label, share]) => {
    const row = element("li");
    const fill = element("div", "", "fill");
    fill.style.width = `${100 * share}%`;
    row.append(fill, element("span", label), element("span", percent(share)));
    return row;
  }));
  const { decode_ms, queue_ms, inference_ms } = answer.timings;
  one(".small", card).textContent =
    `${answer.model} · ${(decode_ms + queue_ms + inference_ms).toFixed(0)} ms · ${prediction.calibrated ? "calibrated" : "not calibrated"}`;
  const why = one(".why", card);
  why.disabled = false;
  why.addEventListener("click", () => explain(card, file, answer.model));
  listed(file, answer.model, prediction.abstain ? "not sure" : "", prediction.label, prediction.probability);
}

function refused(card, file, error) {
  if (error.problem?.code !== "unauthorized") return failed(card, file, error);
  one("h3", card).textContent = "Waits for a key";
  locked.push({ file, card });
}

function failed(card, file, error) {
  one("h3", card).textContent = "No answer";
  const wrong = one(".unsure", card);
  wrong.hidden = false;
  wrong.textContent = error.problem?.errors?.[0]?.detail ?? error.message;
  one(".why", card).hidden = true;
  listed(file, "", wrong.textContent, "", null);
}

async function explain(card, file, model) {
  const why = one(".why", card);
  why.disabled = true;
  why.textContent = "Looking …";
  try {
    const [prediction] = (await predict(file, true, model)).predictions;
    if (prediction.neighbours?.length) alike(card, prediction.neighbours);
    if (!prediction.explanation) {
      why.hidden = true;
      return;
    }
    const heat = await createImageBitmap(decoded(prediction.explanation.heat_png));
    const slider = one("input", card);
    const again = () => draw(card, file, heat, slider.value / 100, model);
    slider.addEventListener("input", again);
    one(".overlay", card).hidden = false;
    why.hidden = true;
    one("canvas", card).setAttribute("aria-label", `${file.name}, with the evidence for ${prediction.label} marked`);
    await again();
    slider.focus();
  } catch (error) {
    why.textContent = `${error.message} Try again`;
    why.disabled = false;
  }
}

function alike(card, neighbours) {
  one(".alike ul", card).replaceChildren(...neighbours.map(({ id, label, similarity, picture_png }) => {
    const row = element("li");
    const picture = element("img");
    picture.src = URL.createObjectURL(decoded(picture_png));
    picture.addEventListener("load", () => URL.revokeObjectURL(picture.src), { once: true });
    picture.alt = "";
    picture.title = id;
    row.append(picture, element("span", label), element("span", similarity.toFixed(2), "quiet"));
    return row;
  }));
  one(".alike", card).hidden = false;
}

function decoded(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

// The picture as the model sees it, with the heat over it.
async function draw(card, file, heat, strength, model = one("#model").value) {
  const canvas = one("canvas", card);
  const context = canvas.getContext("2d");
  const side = canvas.width;
  if (!canvas.hasAttribute("aria-label")) canvas.setAttribute("aria-label", file.name);
  try {
    card.bitmap ??= await preview(file);
  } catch {
    context.font = "20px system-ui";
    context.fillStyle = "#888";
    context.textAlign = "center";
    context.clearRect(0, 0, side, side);
    context.fillText("no preview in this browser", side / 2, side / 2);
  }
  if (card.bitmap) fitted(card.bitmap, context, side, cards[model]?.preprocess.fit ?? "crop");
  if (!heat || !strength) return;
  const layer = new OffscreenCanvas(side, side);
  const over = layer.getContext("2d");
  over.drawImage(heat, 0, 0, side, side);
  const pixels = over.getImageData(0, 0, side, side);
  const stops = [[60, 15, 110], [190, 55, 85], [250, 140, 40], [252, 255, 165]];
  for (let place = 0; place < pixels.data.length; place += 4) {
    const value = pixels.data[place] / 255;
    const at = Math.min(value * 3, 2.999);
    const [low, high, share] = [stops[Math.floor(at)], stops[Math.floor(at) + 1], at % 1];
    for (let channel = 0; channel < 3; channel += 1) {
      pixels.data[place + channel] = low[channel] + share * (high[channel] - low[channel]);
    }
    pixels.data[place + 3] = 255 * strength * value;
  }
  over.putImageData(pixels, 0, 0);
  context.drawImage(layer, 0, 0);
}

async function preview(file) {
  const whole = await createImageBitmap(file, { imageOrientation: "from-image" });
  const scale = KEPT / Math.max(whole.width, whole.height);
  if (scale >= 1) return whole;
  const [resizeWidth, resizeHeight] = [whole.width, whole.height].map((side) => Math.max(1, Math.round(side * scale)));
  const small = await createImageBitmap(whole, { resizeWidth, resizeHeight, resizeQuality: "medium" });
  whole.close();
  return small;
}

// A picture laid onto the model's square as its preprocessing does.
function fitted(bitmap, context, side, fit) {
  const { width, height } = bitmap;
  context.clearRect(0, 0, side, side);
  if (fit === "squash") {
    context.drawImage(bitmap, 0, 0, side, side);
    return;
  }
  const scale = side / (fit === "pad" ? Math.max(width, height) : Math.min(width, height));
  const [w, h] = [width * scale, height * scale];
  context.drawImage(bitmap, (side - w) / 2, (side - h) / 2, w, h);
}

function listed(file, model, note, label, probability) {
  answers.push({ file: file.name, model, label, probability, note });
  said = `${file.name}: ${note || label}${probability === null ? "" : `, ${percent(probability)}`}`;
  const row = element("tr");
  row.append(element("td", file.name), element("td", label), element("td", probability === null ? "" : percent(probability)),
    element("td", note));
  one("#rows").append(row);
  one("#several").hidden = answers.length < 2;
}

let said = ""; // the last answer in words, for those who hear the page

function status() {
  const left = waiting.length + underWay;
  const busy = left ? `Looking at ${left} picture${left > 1 ? "s" : ""} …` : "";
  one("#status").textContent = busy;
  one("#said").textContent = left ? "" : answers.length > 1 ? `${answers.length} answers. Last: ${said}` : said;
}

function download() {
  // A cell that begins with = + - @ would be run as a formula by a spreadsheet.
  const cell = (value) => `"${String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
  const lines = answers.map(({ file, model, label, probability, note }) =>
    [file, model, label, probability, note].map(cell).join(","));
  const blob = new Blob([["file,model,label,probability,note", ...lines].join("\n") + "\n"], { type: "text/csv" });
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = "answers.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

function clear() {
  answers.length = 0;
  round += 1;
  waiting = [];
  locked = [];
  said = "";
  status();
  one("#rows").replaceChildren();
  one("#cards").replaceChildren();
  one("#several").hidden = true;
  one("#files").focus();
}

for (const input of ["#files", "#camera"]) {
  one(input).addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
}
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); one("#drop").classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) one("#drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  one("#drop").classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
one("#model").addEventListener("change", describe);
one("#csv").addEventListener("click", download);
one("#clear").addEventListener("click", clear);
one("#ask-key").addEventListener("submit", (event) => { event.preventDefault(); key = one("#key").value; start(); });
start();
