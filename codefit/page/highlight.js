// Syntax colours for all languages at once: comments, strings, numbers, keywords. A guess, without a parser.
const KEYWORDS = new Set((
  "abstract and as assert async await break case catch class const continue def default defer del do elif else enum " +
  "except export extends extern false final finally fn for from fun func function global go if impl implements import " +
  "in inline interface internal is lambda let match module mut namespace new nil None nonlocal not null object open " +
  "or override package pass private protected pub public raise return self sealed static struct super suspend switch " +
  "this throw trait true True False try type typeof union unsafe use using val var virtual void when where while with " +
  "yield"
).split(" "));
const HASH = new Set(["python", "ruby"]);
const QUOTES = '"""';

function pattern(language) {
  const comment = HASH.has(language) ? "#[^\\n]*" : "\\/\\/[^\\n]*|\\/\\*[^]*?(?:\\*\\/|$)";
  const text = "\"\"\"[^]*?(?:\"\"\"|$)|'''[^]*?(?:'''|$)|\"(?:\\\\.|[^\"\\\\\\n])*\"|'(?:\\\\.|[^'\\\\\\n])*'|`[^`]*`";
  return new RegExp("(" + comment + ")|(" + text + ")|(\\b\\d[\\w.]*)|([A-Za-z_$][\\w$]*)", "g");
}

// Returns [end, kind] for the coloured and the plain stretches of a text, in order; `inside` a docstring at its start.
function stretches(text, language, inside) {
  const found = [];
  let at = 0;
  if (inside) {
    at = text.includes(QUOTES) ? text.indexOf(QUOTES) + QUOTES.length : text.length;
    found.push([at, "string"]);
  }
  const rule = pattern(language);
  rule.lastIndex = at;
  for (let hit = rule.exec(text); hit; hit = rule.exec(text)) {
    const kind = hit[1] ? "comment" : hit[2] ? "string" : hit[3] ? "number" : KEYWORDS.has(hit[4]) ? "keyword" : "";
    if (hit.index > at) found.push([hit.index, ""]);
    at = hit.index + hit[0].length;
    found.push([at, kind]);
  }
  if (at < text.length) found.push([text.length, ""]);
  return found;
}

// Shows code in a node. `before` is the text that it continues; `parts` alternately match the reference and differ from
// it; from `kept` on, an editor would cut.
function paint(node, text, language, {before = "", parts = [text], kept = text.length, inside = false} = {}) {
  const kinds = stretches(before + text, language, inside).map(([end, kind]) => [end - before.length, kind]);
  const nodes = [];
  let at = 0, kind = 0;
  parts.forEach((part, place) => {
    const mark = document.createElement("mark");
    const end = at + part.length;
    while (at < end) {
      while (kinds[kind][0] <= at) kind += 1;
      const until = Math.min(end, at < kept ? Math.min(kept, kinds[kind][0]) : end);
      const span = document.createElement("span");
      span.className = at < kept ? kinds[kind][1] : "after";
      span.textContent = text.slice(at, until);
      if (place % 2 && at < kept) {
        if (!mark.firstChild) nodes.push(mark);
        mark.append(span);
      } else {
        nodes.push(span);
      }
      at = until;
    }
  });
  node.replaceChildren(...nodes);
}
