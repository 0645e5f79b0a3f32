"""Reading C++ well enough for style rules: text without comments and strings, and function lengths."""

import dataclasses
import re

_LITERALS = re.compile(
    r"""
    (?P<comment> //[^\n]* | /\*.*?\*/ )
  | (?P<raw> R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)" )
  | (?P<string> "(?:\\.|[^"\\\n])*" )
  | (?P<character> (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+' )
    """,
    re.VERBOSE | re.DOTALL,
)


def without_literals(text: str) -> str:
    """The code with comments and literals emptied; every line keeps its number."""

    def blank(match: re.Match) -> str:
        newlines = "\n" * match.group().count("\n")
        if match.lastgroup == "comment":
            return newlines or " "
        return ('""' if match.lastgroup in ("raw", "mark", "string") else "''") + newlines

    return _LITERALS.sub(blank, text)


@dataclasses.dataclass(frozen=True)
class Function:
    name: str
    line: int  # of the first line of its signature
    line_count: int


_SCOPE = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b")
_NAME = re.compile(r"(operator\s*\S+?|[~\w:]+)\s*\($")
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_OTHER = ("", 0)  # a brace that opens neither a scope nor a function


def functions(code: str) -> list[Function]:
    """Every function body that is not inside another; `code` comes from without_literals."""
    code = _DIRECTIVE.sub(lambda match: "\n" * match.group().count("\n"), code)
    found, stack, start = [], [], 0
    for match in re.finditer(r"[{};]", code):
        in_scope = not any(stack)
        if match.group() == "{":
            stack.append(_opened(code[start : match.start()], code, start) if in_scope else _OTHER)
        elif match.group() == "}" and stack:
            name, line = stack.pop() or _OTHER
            if line and code[match.end() :].lstrip()[:1] in (",", "{"):
                continue  # the braces of a constructor's member initializer
            if line:
                end = code.count("\n", 0, match.start()) + 1
                found.append(Function(name, line, end - line + 1))
        if not any(stack):
            start = match.end()
    return found


def _opened(header: str, code: str, start: int):
    """What a brace behind `header` opens: None a scope, else (name, line) of a function or _OTHER."""
    signature = re.sub(r"^(public|private|protected)\s*:", "", header.strip()).strip()
    scope = re.match(r"(?:template\s*<[^{]*>\s*)?" + _SCOPE.pattern, signature)
    if scope and (scope.group(1) in ("namespace", "class", "enum") or "(" not in signature):
        return None
    balanced = signature.count("(") == signature.count(")") > 0
    if not balanced or signature.endswith("="):
        return _OTHER
    before = signature[: signature.index("(") + 1]
    name = _NAME.search(before)
    blank = len(header) - len(header.lstrip())
    return (name.group(1) if name else before[:-1].strip(), code.count("\n", 0, start + blank) + 1)
