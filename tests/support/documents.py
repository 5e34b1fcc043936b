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
    "c": f"""#include <stdio.h>

/**
 * {WORDS}
 */
struct Reader {{
    const char *path;
    int count;
}};

/* Returns the first lines; read_lines stops at the limit. */
static char **read_lines(struct Reader *reader, int limit)
{{
    char **found = start(reader->path);
    for (int line = 0; line < limit; line++) {{
        append(found, next(reader));
    }}
    if (!found[0]) {{
        return read_lines(reader, limit + 1);
    }}
    return found;
}}
""",
    "cpp": f"""#include <string>

namespace a {{

/**
 * {WORDS}
 */
template <class Path>
class Reader : public Source {{
 public:
  explicit Reader(Path path) : path_(path) {{}}

  /// Returns the first lines; readLines stops at the limit.
  std::vector<std::string> readLines(int limit) const {{
    std::vector<std::string> found;
    for (const auto &line : lines_) {{
      found.push_back(line);
    }}
    return found.empty() ? readLines(limit + 1) : first(found, limit);
  }}

 private:
  Path path_;
}};

}}  // namespace a
""",
    "csharp": f"""namespace A
{{
    /// <summary>
    /// {WORDS}
    /// </summary>
    [Serializable]
    public class Reader : Source
    {{
        /// <summary>Returns the first lines; ReadLines stops at the limit.</summary>
        public List<string> ReadLines(int limit)
        {{
            var found = new List<string>();
            foreach (var line in this.lines)
            {{
                found.Add(line);
            }}
            return found.Count == 0 ? ReadLines(limit + 1) : found.GetRange(0, limit);
        }}
    }}
}}
""",
    "rust": f"""use std::fs;

/// {WORDS}
#[derive(Debug, Clone)]
pub struct Reader<'a> {{
    path: &'a str,
    lines: Vec<String>,
}}

impl<'a> Reader<'a> {{
    /// Returns the first lines; read_lines stops at the limit.
    #[inline]
    pub fn read_lines(&self, limit: usize) -> Vec<String> {{
        let mut found = Vec::new();
        for line in &self.lines {{
            found.push(line.clone());
        }}
        if found.is_empty() {{
            return self.read_lines(limit + 1);
        }}
        found.into_iter().take(limit).collect()
    }}
}}
""",
    "php": f"""<?php

namespace A;

/**
 * {WORDS}
 */
class Reader extends Source
{{
    /** Returns the first lines; readLines stops at the limit. */
    #[Pure]
    public function readLines(int $limit): array
    {{
        $found = [];
        foreach ($this->lines as $line) {{
            $found[] = $line;
        }}
        return $found ? array_slice($found, 0, $limit) : $this->readLines($limit + 1);
    }}
}}
""",
    "ruby": f"""require "source"

# {WORDS}
class Reader < Source
  # Returns the first lines; read_lines stops at the limit.
  def read_lines(limit)
    found = []
    @lines.each do |line|
      found << line
    end
    return read_lines(limit + 1) if found.empty?
    found.first(limit)
  end

  def path
    @path
  end
end
""",
    "swift": f"""import Foundation

/// {WORDS}
@available(macOS 13, *)
public class Reader: Source {{
    /// Returns the first lines; readLines stops at the limit.
    public func readLines(limit: Int) -> [String] {{
        var found: [String] = []
        for line in lines {{
            found.append(line)
        }}
        return found.isEmpty ? readLines(limit: limit + 1) : Array(found.prefix(limit))
    }}
}}
""",
    "scala": f"""package a

/**
 * {WORDS}
 */
class Reader(path: String) extends Source {{
  /** Returns the first lines; readLines stops at the limit. */
  def readLines(limit: Int): List[String] = {{
    val found = ListBuffer[String]()
    for (line <- lines) {{
      found += line
    }}
    if (found.isEmpty) readLines(limit + 1) else found.take(limit).toList
  }}

  override def close(): Unit = {{
    stream.close()
    stream = null
    println("closed")
  }}
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
