"""What a tool writes into a page that people write: everything between two comments."""

_END = "<!-- end of what is generated -->"


def with_generated(document: str, tool: str, text: str) -> str:
    """The document with `text` as the lines that `python -m tools.TOOL` writes, instead of those that are there."""
    start = f"<!-- generated: python -m tools.{tool} -->"
    before, rest = document.split(start)
    _, after = rest.split(_END, 1)
    return f"{before}{start}\n{text}\n{_END}{after}"
