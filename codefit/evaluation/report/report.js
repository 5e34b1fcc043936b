const {models, kinds, metrics, items, examples} = JSON.parse(document.getElementById("items").textContent);
const find = (id) => document.getElementById(id);
const tabs = [...document.querySelectorAll("[role=tab]")];
const panels = [...document.querySelectorAll(".benchmark")];
const gain = (item) => item.answers[find("model").value].score - item.answers[0].score;
const filters = {
  all: () => true,
  better: (item) => gain(item) > 0,
  worse: (item) => gain(item) < 0,
  same: (item) => gain(item) === 0,
};
let benchmark = 0;
let shown = [];
let at = 0;

// ---------------------------------------------------------------------------------- tabs: one benchmark each

function openTab(index) {
  benchmark = index;
  tabs.forEach((tab, place) => {
    tab.setAttribute("aria-selected", place === index);
    tab.tabIndex = place === index ? 0 : -1;
  });
  panels.forEach((panel, place) => { panel.hidden = place !== index; });
  panels[index].querySelector(".slot").append(find("browser"));
  chooseBenchmark();
  for (const node of panels[index].querySelectorAll(".example .panel:first-child pre")) node.scrollTop = node.scrollHeight;
}

// Opens what a link leads to, if it is folded.
function unfold() {
  const target = find(location.hash.slice(1));
  const folded = target && target.closest("details");
  if (folded) { folded.open = true; folded.scrollIntoView(); }
}

// ---------------------------------------------------------------------------------- the browser of predictions

function chooseBenchmark() {
  const here = items.filter((item) => item.where === benchmark);
  find("group").replaceChildren(new Option("all groups", ""));
  kinds.forEach((kind, index) => {
    const box = document.createElement("optgroup");
    box.label = kind;
    const counts = new Map();
    for (const item of here) counts.set(item.groups[index], (counts.get(item.groups[index]) || 0) + 1);
    for (const [name, count] of [...counts].sort((a, b) => b[1] - a[1])) {
      box.append(new Option(name + " (" + count + ")", index + ":" + name));
    }
    if (counts.size > 1) find("group").append(box);
  });
  choose();
}

function choose() {
  const name = document.querySelector("#filter input:checked").value;
  const [kind, group] = find("group").value.split(/:(.*)/s);
  const here = items.filter((item) => item.where === benchmark && (!kind || item.groups[kind] === group));
  shown = here.filter(filters[name]);
  if (name === "better" || name === "worse") shown.sort((a, b) => Math.abs(gain(b)) - Math.abs(gain(a)));
  for (const input of document.querySelectorAll("#filter input")) {
    input.nextSibling.textContent = " " + input.value + " (" + here.filter(filters[input.value]).length + ")";
  }
  at = 0;
  show();
}

function show() {
  const item = shown[at];
  find("previous").disabled = at === 0;
  find("next").disabled = at >= shown.length - 1;
  find("place").textContent = item ? (at + 1) + " of " + shown.length : "none";
  find("item").hidden = !item;
  if (!item) return;
  find("path").textContent = item.path && item.path !== item.id ? item.path + " · " + item.id : item.id;
  find("groups-of-item").textContent = item.groups.map((name, index) => kinds[index] + ": " + name).join(" · ");
  paint(find("prompt"), item.prompt, item.language, {inside: item.inside});
  paint(find("suffix"), item.suffix, item.language);
  find("after").hidden = !item.suffix;
  fill(item, find("reference"), models.map((_, index) => find("answer-" + index)));
  item.answers.forEach((written, index) => {
    find("score-" + index).textContent = "· " + metrics[item.where] + " " + written.score.toFixed(1) + " · " + written.end;
  });
  find("prompt").scrollTop = find("prompt").scrollHeight;
}

// Shows the reference and the predictions of an item in their nodes.
function fill(item, reference, answers) {
  const {prompt: before, inside} = item;
  paint(reference, item.reference, item.language, {before, inside});
  item.answers.forEach(({parts, kept}, index) => paint(answers[index], parts.join(""), item.language, {before, parts, kept, inside}));
}

function move(step) {
  at = Math.min(Math.max(at + step, 0), Math.max(shown.length - 1, 0));
  show();
}

function pick(name) {
  document.querySelector("#filter input[value=" + name + "]").checked = true;
  choose();
}

// ---------------------------------------------------------------------------------- making it all work

for (const node of document.querySelectorAll(".example")) {
  const item = examples[node.dataset.benchmark][node.dataset.example];
  const [prompt, ...others] = node.querySelectorAll("pre");
  paint(prompt, item.prompt, item.language, {inside: item.inside});
  fill(item, others.pop(), others);
}
for (const name of Object.keys(filters)) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, {type: "radio", name: "filter", value: name, checked: name === "all"});
  label.append(input, document.createTextNode(""));
  find("filter").append(label);
}
models.forEach((label, index) => {
  const panel = document.createElement("div");
  panel.className = "panel model-" + index % 5;
  const head = document.createElement("h4");
  const score = document.createElement("span");
  score.id = "score-" + index;
  head.append(label[0].toUpperCase() + label.slice(1) + " ", score);
  const text = document.createElement("pre");
  text.id = "answer-" + index;
  panel.append(head, text);
  find("panels").insertBefore(panel, find("reference").parentNode);
  if (index) find("model").append(new Option(label + " compared with " + models[0], index));
});
find("model").hidden = find("model").length < 2;
for (const id of ["filter", "model", "group"]) find(id).addEventListener("change", choose);
find("previous").addEventListener("click", () => move(-1));
find("next").addEventListener("click", () => move(1));
for (const link of document.querySelectorAll("a[data-group]")) {
  link.addEventListener("click", () => {
    find("model").value = link.dataset.model;
    find("group").value = link.dataset.group;
    pick("all");
  });
}
const keys = {j: () => move(1), k: () => move(-1)};
for (const name of Object.keys(filters)) keys[name[0]] = () => pick(name);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  if (Object.hasOwn(keys, event.key)) keys[event.key]();
});
for (const [index, tab] of tabs.entries()) {
  tab.parentNode.hidden = false;
  panels[index].setAttribute("role", "tabpanel");
  panels[index].setAttribute("aria-labelledby", tab.id);
  tab.addEventListener("click", () => openTab(index));
  tab.addEventListener("keydown", (event) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    openTab((index + step + tabs.length) % tabs.length);
    tabs[benchmark].focus();
  });
}
find("browser").hidden = false;
addEventListener("hashchange", unfold);
openTab(0);
unfold();
