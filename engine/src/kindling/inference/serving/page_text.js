// Texts: a prompt, and what follows it as it is drawn.
let settings = [], writing = null;
KINDS.text = (model) => {
  settings = model.settings;
  build(find("settings"), settings, "setting");
  find("prompt").maxLength = limits.max_length;
  return "a text that goes on";
};

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const lines = Object.fromEntries(part.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      yield { kind: lines.event || "text", ...JSON.parse(lines.data) };
    }
  }
}

let arrived = "";
// Once a frame, as laying out a long text takes a while.
function showArrived() {
  if (!arrived) return;
  const place = find("written");
  place.lastChild.data += arrived;
  place.scrollTop = place.scrollHeight;
  arrived = "";
}

async function write(prompt, signal) {
  const started = performance.now(), place = find("written");
  const answer = await send("predict", { ...asJson({ prompt, ...values(settings, "setting") }), signal });
  say("");
  clearResults();
  find("empty").hidden = true;
  place.replaceChildren(element("b", prompt), document.createTextNode(""));
  place.hidden = false;
  arrived = "";
  for await (const event of events(answer.body)) {
    if (event.kind === "error") throw new Error(explain(event.error, []));
    if (event.kind === "end") return took(performance.now() - started, event.latency_ms);
    if (!arrived) requestAnimationFrame(showArrived);
    arrived += event.text;
  }
  throw new Error("The text broke off: the server has ended, or the connection.");
}

find("text").addEventListener("submit", async (event) => {
  event.preventDefault();
  writing?.abort();
  const mine = ++turn;
  writing = new AbortController();
  find("stop").disabled = false;
  find("answer").setAttribute("aria-busy", "true");
  try {
    await write(find("prompt").value, writing.signal);
  } catch (error) {
    if (mine !== turn) return;
    if (error.name !== "AbortError") say(error instanceof TypeError ? "The text broke off: the server has ended, or the connection." : error.message);
  } finally {
    if (mine === turn) {
      showArrived();
      settle();
      find("stop").disabled = true;
    }
  }
});
find("stop").addEventListener("click", () => writing?.abort());
