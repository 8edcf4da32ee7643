// Rows: a field for each column, and what the model says of them by name.
const PROBABILITY = "probability_";

function field(column, id) {
  const label = element("label", "", { className: "field" });
  const input = element(column.choices ? "select" : "input", "", { id, name: column.name });
  if (column.choices) input.append(...column.choices.map((choice) => element("option", choice, { value: choice })));
  else Object.assign(input, column.type === "text" ? { type: "text" } : { type: "number", step: column.type === "integer" ? 1 : "any" });
  for (const [name, value] of [["min", column.low], ["max", column.high]]) if (value !== undefined) input[name] = value;
  if (column.default !== undefined) input.defaultValue = column.default;
  label.append(element("span", column.name), input, element("small", describe(column)));
  return label;
}

function describe(column) {
  const { low, high, unit } = column;
  const range = low !== undefined && high !== undefined ? `${low} to ${high}` : low !== undefined ? `from ${low}` : high !== undefined ? `up to ${high}` : "";
  return [range, unit].filter(Boolean).join(" ");
}

// The form is left alone if the same model comes again, with what was typed.
function build(place, columns, prefix) {
  const asked = JSON.stringify(columns);
  if (place.dataset.asked === asked) return;
  place.dataset.asked = asked;
  place.className = "fields";
  place.replaceChildren(...columns.map((column, index) => field(column, `${prefix}-${index}`)));
}

function values(columns, prefix) {
  const found = {};
  columns.forEach((column, index) => {
    const given = find(`${prefix}-${index}`).value;
    if (given !== "") found[column.name] = column.choices || column.type === "text" ? given : Number(given);
  });
  return found;
}

let columns = [], pictures = [];
const picturesOf = (outputs = []) => outputs.filter((each) => each.type === "image").map((each) => each.name);
KINDS.rows = (model) => {
  pictures = picturesOf(model.outputs);
  columns = model.inputs;
  build(find("fields"), columns, "column");
  const one = model.outputs.length === 1 ? model.outputs[0].name : `${model.outputs.length} values`;
  return `${columns.length} columns · gives ${one}`;
};

function sayRow(row) {
  const figure = element("figure"), list = element("dl");
  const classes = Object.entries(row).filter(([name]) => name.startsWith(PROBABILITY));
  if (row.class !== undefined && classes.length) {
    const head = element("div", "", { className: "head" }), words = element("div");
    words.append(element("strong", row.class), element("span", percent(row.probability)));
    head.append(words);
    figure.append(head, barsOf(Object.fromEntries(classes.map(([name, share]) => [name.slice(PROBABILITY.length), share]))));
    return figure;
  }
  const entries = Object.entries(row);
  for (const [name, value] of entries) {
    if (pictures.includes(name)) {
      const picture = element("dd");
      picture.append(element("img", "", { src: `data:image/png;base64,${value}`, alt: name }));
      list.append(element("dt", name), picture);
      continue;
    }
    const shown = typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
    list.append(element("dt", name), element("dd", shown, { className: entries.length === 1 ? "only" : "", title: String(value) }));
  }
  figure.append(list);
  return figure;
}

find("row").addEventListener("submit", async (event) => {
  event.preventDefault();
  const mine = ++turn;
  find("answer").setAttribute("aria-busy", "true");
  try {
    const started = performance.now();
    const answer = await ask("predict", asJson(values(columns, "column")));
    if (mine !== turn) return;
    say("");
    clearResults();
    find("empty").hidden = true;
    find("results").append(...answer.predictions.map(sayRow));
    took(performance.now() - started, answer.latency_ms);
  } catch (error) {
    if (mine !== turn) return;
    clearResults();
    say(error.message.replace(/^rows\[0\]: /, ""));
  } finally {
    if (mine === turn) settle();
    if (mine === turn && find("key-section").hidden) bringIntoView();
  }
});
