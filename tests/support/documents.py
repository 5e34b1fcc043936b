"""One class in every language of the table, and the pairs that a task builds of it."""

import dataclasses
from collections import Counter

from codefit.code.languages import LANGUAGES
from codefit.records import Document, Pair
from codefit.tasks.task import TaskOptions, load_task

OPTIONS = TaskOptions(max_prompt_tokens=400, max_completion_tokens=120, window_step=16, max_pairs_per_file=1000, seed=0)
WORDS = "Keeps the lines of a file in memory and hands them out one at a time, so that a reader need not know the path."
SOURCES = {
    "python": f'''import os


class Reader:
    """{WORDS}"""

    def __init__(self, path):
        self.path = path

    def read_lines(self, limit=10):
        """Return the first lines; read_lines stops at the limit."""
        found = []
        for line in open(self.path):
            found.append(line)
        if not found:
            return self.read_lines(limit + 1)
        return found[:limit]
''',
    "kotlin": f"""package a

/**
 * {WORDS}
 */
class Reader(private val path: String) : Source() {{
    /** Returns the first lines; [readLines] stops at the limit. */
    fun readLines(limit: Int): List<String> {{
        val found = mutableListOf<String>()
        File(path).forEachLine {{ found.add(it) }}
        if (found.isEmpty()) {{
            return readLines(limit + 1)
        }}
        return found.take(limit)
    }}

    override fun close() {{
        stream.close()
        stream = null
        println("closed")
    }}
}}
""",
    "java": f"""package a;

/**
 * {WORDS}
 */
public class Reader extends Source {{
    /** Returns the first lines; {{@link #readLines}} stops at the limit. */
    public List<String> readLines(int limit) {{
        List<String> found = new ArrayList<>();
        for (String line : this.lines) {{
            found.add(line);
        }}
        return found.isEmpty() ? readLines(limit + 1) : found.subList(0, limit);
    }}

    @Override
    public void close() {{
        stream.close();
        stream = null;
        System.out.println("closed");
    }}
}}
""",
    "javascript": f"""/**
 * {WORDS}
 */
export class Reader extends Source {{
  /** Returns the first lines; readLines stops at the limit. */
  readLines(limit) {{
    const found = [];
    for (const line of this.lines) {{
      found.push(line);
    }}
    return found.length ? found.slice(0, limit) : this.readLines(limit + 1);
  }}
}}
""",
    "typescript": f"""/**
 * {WORDS}
 */
export class Reader extends Source {{
  /** Returns the first lines; readLines stops at the limit. */
  readLines(limit: number): string[] {{
    const found: string[] = [];
    for (const line of this.lines) {{
      found.push(line);
    }}
    return found.length ? found.slice(0, limit) : this.readLines(limit + 1);
  }}
}}
""",
    "go": f"""package a

// {WORDS}
type Reader struct {{
	lines []string
	path  string
}}

// ReadLines returns the first lines; ReadLines stops at the limit.
func (r *Reader) ReadLines(limit int) []string {{
	found := []string{{}}
	for _, line := range r.lines {{
		found = append(found, line)
	}}
	if len(found) == 0 {{
		return r.ReadLines(limit + 1)
	}}
	return found[:limit]
}}
""",
}


def document_of(language: str, text: str = "") -> Document:
    suffix = LANGUAGES[language].suffixes[0]
    return Document(text or SOURCES[language], f"src/reader{suffix}", "me/reader", language=language)


def starts_of(text: str) -> list[int]:
    """Return the starts of tokens of three characters each: no tokenizer is needed to test a task."""
    return list(range(0, len(text), 3))


def build(task: str, document: Document, **options) -> tuple[list[Pair], Counter[str]]:
    skipped: Counter[str] = Counter()
    starts = starts_of(document.content) if load_task(task).NEEDS_TOKENS else []
    return list(
        load_task(task).build_pairs(document, starts, dataclasses.replace(OPTIONS, **options), skipped)
    ), skipped
