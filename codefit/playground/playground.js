const find = (id) => document.getElementById(id);
const panels = [...document.querySelectorAll(".answer")];
const percent = (value) => (100 * value).toFixed(1) + " %";
const kind = (value) => value >= 0.8 ? "likely" : value >= 0.3 ? "unsure" : "unlikely";
let cursor = 0;

function element(name, text) {
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}

async function complete() {
  if (find("complete").disabled) return;
  const code = find("code").value;
  cursor = find("code").selectionStart;
  const infill = find("infill") && find("infill").checked;
  const question = {prompt: code.slice(0, cursor), suffix: infill ? code.slice(cursor) : null, new_tokens: find("new-tokens").valueAsNumber};
  find("complete").disabled = true;
  find("state").textContent = "The models are writing …";
  find("error").textContent = "";
  try {
    const reply = await fetch("complete", {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(question),
    });
    const found = await reply.json();
    if (!reply.ok) throw new Error(found.error);
    found.answers.forEach((answer, index) => show(panels[index], answer));
  } catch (error) {
    find("error").textContent = error instanceof TypeError ? "The server does not answer; is complete.py still running?" : error.message;
  }
  find("state").textContent = "";
  find("complete").disabled = false;
}

function show(panel, {tokens, stopped}) {
  const text = tokens.map((token) => token.text).join("");
  const mean = Math.exp(tokens.reduce((sum, token) => sum + Math.log(Math.max(token.probability, 1e-4)), 0) / tokens.length);
  const end = stopped ? "stopped by itself" : "cut at the token limit";
  panel.querySelector(".caption").textContent = tokens.length
    ? tokens.length + " tokens, " + percent(mean) + " in the geometric mean · " + end
    : "The model stopped at once.";
  panel.querySelector("pre").replaceChildren(...tokens.map((token) => {
    const node = element("span", token.text);
    node.className = kind(token.probability);
    node.title = percent(token.probability);
    return node;
  }));
  panel.querySelector("tbody").replaceChildren(...tokens.map((token) => {
    const row = document.createElement("tr");
    const likeliest = token.others.map(([name, value]) => JSON.stringify(name) + " " + percent(value)).join(", ");
    const head = element("th", JSON.stringify(token.text));
    head.scope = "row";
    row.append(head, element("td", percent(token.probability)), element("td", likeliest));
    return row;
  }));
  const insert = panel.querySelector(".insert");
  insert.disabled = !text;
  insert.onclick = () => {
    find("code").setRangeText(text, cursor, cursor, "end");
    find("code").focus();
    insert.disabled = true;
  };
}

find("complete").addEventListener("click", complete);
find("code").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    complete();
  }
});
find("code").focus();
find("code").setSelectionRange(find("code").value.length, find("code").value.length);
