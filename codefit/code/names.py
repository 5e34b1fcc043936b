"""The names of code: identifiers outside comments and strings, their parts, and the words that a language provides."""

import builtins
import functools
import re
from collections.abc import Iterator

from codefit.code.languages import LANGUAGES, Language
from codefit.code.lexer import mask
from codefit.code.syntax import keywords

NAME = re.compile(r'\b[^\W\d]\w*\b(?!")')  # in masked code; what touches a quote is the prefix of a string

# What a name consists of: utf8ToUtf16 is utf, 8, To, Utf and 16.
PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\W0-9A-Za-z_]+")

# What a program can use without an import, by language: values, basic types and the usual functions on them. A name
# that is missing here counts as one that the repository must have.
PROVIDED = {
    "kotlin": """it field Any Array Boolean Byte Char CharSequence Collection Comparable Double Enum Error
        Exception Float Int IntArray Iterable Lazy List Long Map MutableList MutableMap MutableSet Nothing Number
        Pair Sequence Set Short String StringBuilder Throwable Triple Unit add all also any apply arrayOf
        associate check contains count emptyList emptyMap error filter first firstOrNull forEach get getOrPut
        hashCode equals isEmpty isNotEmpty joinToString last lazy let length listOf map mapOf mutableListOf
        mutableMapOf mutableSetOf none print println put remove repeat require run setOf size substring toInt
        toList toSet toString trim until with""",
    "java": """Boolean Byte Character Class Deprecated Double Error Exception Float Integer Iterable Long Math
        Number Object Override Runnable RuntimeException Short String StringBuilder SuppressWarnings System Thread
        Throwable Void add append charAt contains equals get getClass hashCode isEmpty length out println put
        remove size substring toString valueOf""",
    "javascript": """Array Boolean Date Error JSON Map Math Number Object Promise RegExp Set String Symbol
        TypeError arguments console document exports length log map module process prototype push require window
        filter forEach indexOf join keys reduce slice some split then toString undefined""",
    "go": """any append bool byte cap close complex128 complex64 copy delete error false float32 float64 int int16
        int32 int64 int8 iota len make max min new nil panic print println real recover rune string true uint
        uint16 uint32 uint64 uint8 uintptr""",
    "c": """bool char double false float free int int16_t int32_t int64_t int8_t long malloc memcpy memset printf
        short size_t strcmp strlen true uint16_t uint32_t uint64_t uint8_t void""",
    "cpp": """begin cout end endl int make_shared make_unique map pair push_back shared_ptr size size_t std string
        unique_ptr vector""",
    "csharp": """Console Exception List String System Task Dictionary IEnumerable Add Contains Count Length
        ToString WriteLine Equals GetHashCode Object value""",
    "rust": """Box Clone Debug Default Err None Ok Option Result Self Some String Vec assert assert_eq bool char
        clone collect f32 f64 format i16 i32 i64 i8 into is_empty iter len map new panic println push self std str
        to_string u16 u32 u64 u8 unwrap usize vec isize""",
    "php": """Exception array_map array_merge count false implode in_array is_array isset null parent self sprintf
        str_replace strlen this true""",
    "ruby": """Array Hash Integer String StandardError attr_accessor attr_reader each include initialize is_a join
        key length map new private push puts raise require size to_s to_sym""",
    "swift": """else Any Array Bool Character Dictionary Double Error Float Int Optional Set String Void append count
        fatalError filter first isEmpty last map print""",
    "scala": """Any AnyRef Array Boolean Byte Char Double Either Exception Float Int Iterable Left List Long Map
        None Nothing Option Right Seq Set Some String Unit Vector apply collect contains exists filter flatMap
        foldLeft foreach get getOrElse head isEmpty length map mkString nonEmpty println size tail toList toString""",
}
PROVIDED["typescript"] = PROVIDED["javascript"] + " Partial Readonly Record Pick Omit"
PROVIDED["cpp"] += " " + PROVIDED["c"]
EVERYWHERE = "true false null nil None True False self this super void NULL nullptr undefined"


def in_code(text: str, language: Language) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and name of every identifier of a text that is in code, keywords included."""
    for found in NAME.finditer(mask(text, language)[0]):
        yield found.start(), found.end(), found[0]


def parts(name: str) -> list[str]:
    """Return the parts of a name in lower case, split at underscores, at capitals and around digits."""
    return [part.lower() for part in PART.findall(name)]


@functools.cache
def provided(name: str) -> frozenset[str]:
    """Return the keywords of a language, and the names that it provides without an import, by its name.

    Those of Python are what the running Python has, with the attributes of its built-in types.
    """
    language = LANGUAGES[name]
    return frozenset([*keywords(language), *EVERYWHERE.split(), *PROVIDED.get(name, "").split(), *_of_python(name)])


def _of_python(name: str) -> Iterator[str]:
    if name == "python":
        yield from ("cls", *dir(builtins))
        for thing in vars(builtins).values():
            yield from dir(thing) if isinstance(thing, type) else ()
