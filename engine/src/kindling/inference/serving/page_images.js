// Images: chosen, dropped, pasted or drawn.
const canvas = find("canvas"), pen = canvas.getContext("2d", { willReadFrequently: true });

KINDS.image = (model) => {
  pictures = picturesOf(model.outputs);
  if (!model.classes) return `images · gives ${model.outputs.map((each) => each.name).join(", ")}`;
  const colours = model.channels === 1 ? "grey" : "colour";
  return `${model.classes.length} classes · ${model.image_size} × ${model.image_size} ${colours}`;
};

async function predict(blobs) {
  const mine = ++turn;
  find("answer").setAttribute("aria-busy", "true");
  try {
    if (limits && blobs.length > limits.max_images) throw new Error(`These are ${blobs.length} images; this server takes ${limits.max_images} at a time.`);
    for (const blob of blobs) await blob.slice(0, 1).arrayBuffer().catch(() => {
      throw new Error(`${blob.name} cannot be read: it is a folder, or no longer there.`);
    });
    const form = new FormData();
    blobs.forEach((blob, index) => form.append("image", blob, `image-${index}`));
    const started = performance.now();
    const answer = await ask("predict?seen=true", { method: "POST", body: form }, blobs.map((blob) => blob.name));
    if (mine !== turn) return;
    if (!limits) connect();
    say("");
    show(answer, blobs, performance.now() - started);
    if (!blobs[0].name && answer.predictions[0].class !== undefined) find("verdict").textContent = `${answer.predictions[0].class}, ${percent(answer.predictions[0].probability)}`;
  } catch (error) {
    if (mine !== turn) return;
    clearResults();
    say(error.message);
  } finally {
    if (mine === turn) settle();
    if (mine === turn && blobs[0].name && find("key-section").hidden) bringIntoView();
  }
}

function show(answer, blobs, elapsed) {
  clearResults();
  find("empty").hidden = true;
  answer.predictions.forEach((prediction, index) => {
    const figure = element("figure"), head = element("div", "", { className: "head" }), words = element("div");
    urls.push(URL.createObjectURL(blobs[index]));
    if (prediction.probabilities) words.append(element("strong", prediction.class), element("span", percent(prediction.probability)));
    if (blobs[index].name) words.append(element("br"), element("span", blobs[index].name));
    const picture = element("img", "", { src: urls.at(-1), alt: blobs[index].name || "your drawing" });
    const given = element("div"), seen = element("div");
    given.append(picture, blobs[index].name ? "your image" : "your drawing");
    picture.addEventListener("error", () => given.remove());  // a kind that this browser does not show
    if (prediction.seen) seen.append(element("img", "", { src: `data:image/png;base64,${prediction.seen}`, alt: "the image as the net sees it" }), "as the net sees it");
    head.append(given, seen, words);
    figure.append(head, ...(prediction.probabilities ? [barsOf(prediction.probabilities)] : sayRow(prediction).children));
    find("results").append(figure);
  });
  took(elapsed, answer.latency_ms);
}

async function showExamples() {
  const { images } = await ask("examples");
  find("examples").replaceChildren(...images.map((image, index) => {
    const button = element("button"), name = `example ${index + 1}`;
    button.append(element("img", "", { src: `data:image/png;base64,${image}`, alt: name }));
    button.addEventListener("click", () => {
      const bytes = Uint8Array.from(atob(image), (letter) => letter.charCodeAt(0));
      predict([new File([bytes], name, { type: "image/png" })]);
    });
    return button;
  }));
  find("examples-section").hidden = !images.length;
}

find("files").addEventListener("change", (event) => {
  const chosen = [...event.target.files];
  event.target.value = "";
  if (chosen.length) predict(chosen);
});
addEventListener("dragover", (event) => { if (shown !== "image") return; event.preventDefault(); find("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) find("drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  if (shown !== "image") return;
  event.preventDefault();
  find("drop").classList.remove("over");
  const dropped = [...event.dataTransfer.files];
  if (dropped.length) predict(dropped); else say("This is no file. Save the image first, then drop it.");
});
addEventListener("paste", (event) => {
  if (shown !== "image") return;
  const pasted = [...event.clipboardData.files];
  if (pasted.length) predict(pasted);
  else if (event.target !== find("key")) say("There is no image in the clipboard.");
});

const LIVE_MS = 150;  // between two questions while somebody draws
const HINT = find("pen").textContent;
let isAsking = false, isEmpty = true, last = null, cursor = { x: 140, y: 140 }, isDown = false, before = null, wait = 0;
function wipe() {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, 280, 280);
  isEmpty = true;
  before = null;
  isDown = false;
}
function line(from, to) {
  Object.assign(pen, { strokeStyle: "#fff", lineWidth: 22, lineCap: "round", lineJoin: "round" });
  pen.beginPath();
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x + 0.01, to.y);
  pen.stroke();
  isEmpty = false;
}
function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) * 280 / box.width, y: (event.clientY - box.top) * 280 / box.height };
}
function hideCursor() {
  if (before) pen.putImageData(before, 0, 0);
  before = null;
}
function showCursor() {
  before = pen.getImageData(0, 0, 280, 280);
  pen.beginPath();
  pen.arc(cursor.x, cursor.y, 8, 0, 2 * Math.PI);
  Object.assign(pen, { strokeStyle: isDown ? "#ff7b2e" : "#8fb4ff", lineWidth: 3 });
  pen.stroke();
}
async function askWhileDrawing() {
  if (isAsking || !last) return;
  isAsking = true;
  await Promise.all([sendDrawing(), new Promise((done) => setTimeout(done, LIVE_MS))]);
  isAsking = false;
}
function askDrawing() {
  clearTimeout(wait);
  hideCursor();
  if (isEmpty) { clearResults(); return say("There is no drawing yet."); }
  sendDrawing();
}
function sendDrawing() {
  const text = atob(canvas.toDataURL("image/png").split(",")[1]);  // toBlob may wait for an idle moment
  return predict([new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))], { type: "image/png" })]);
}
canvas.addEventListener("pointerdown", (event) => {
  if (event.button || last) return;  // the first finger, the left button
  hideCursor();
  clearTimeout(wait);
  canvas.setPointerCapture(event.pointerId);
  last = { ...place(event), pointer: event.pointerId };
  line(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  if (last?.pointer !== event.pointerId) return;
  const next = { ...place(event), pointer: event.pointerId };
  line(last, next);
  last = next;
  askWhileDrawing();
});
for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => {
  if (last?.pointer !== event.pointerId) return;
  wait = setTimeout(askDrawing, 500);
  last = null;
});
const MOVES = { ArrowLeft: [-14, 0], ArrowRight: [14, 0], ArrowUp: [0, -14], ArrowDown: [0, 14] };
canvas.addEventListener("keydown", (event) => {
  if (event.key === "Enter") { event.preventDefault(); return askDrawing(); }
  if (event.key !== " " && !MOVES[event.key]) return;
  event.preventDefault();
  hideCursor();
  if (event.key === " ") {
    isDown = !isDown;
    if (isDown) line(cursor, cursor);
    find("pen").textContent = isDown ? "The pen is down" : "The pen is up";
  } else {
    const [x, y] = MOVES[event.key];
    const next = { x: Math.min(266, Math.max(14, cursor.x + x)), y: Math.min(266, Math.max(14, cursor.y + y)) };
    if (isDown) line(cursor, next);
    cursor = next;
  }
  showCursor();
});
canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) showCursor(); });
canvas.addEventListener("blur", hideCursor);
find("ask").addEventListener("click", askDrawing);
find("clear").addEventListener("click", () => {
  clearTimeout(wait);
  wipe();
  turn++;
  settle();
  clearResults();
  say("");
  find("pen").textContent = HINT;
});
wipe();
