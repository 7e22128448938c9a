"""The certificate as one HTML file that loads nothing.

Here: markup. Not here: content (certificate_pages.py).
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.erasure.certificate_pages import SUBTITLE, TITLE, Section, sections_of
from compliance_pipelines.erasure.unseen import shown_text

if TYPE_CHECKING:
    from collections.abc import Iterable

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
h1 { margin-bottom: 0; } h2 { margin-top: 2rem; font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }
tbody th { font-weight: 600; width: 14rem; } bdi { unicode-bidi: isolate; }
@media print { body { margin: 0; max-width: none; } }
"""


def to_html(certificate: dict[str, Any]) -> str:
    """The page; the certificate's JSON stands in it too, in a script element of type application/json."""
    # Inside a script element only "<" could end it; JSON may write it by its number.
    data = json.dumps(certificate, ensure_ascii=False, indent=2).replace("<", "\\u003c")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{TITLE} {certificate['statement']['request']['id']}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{TITLE}</h1>\n<p>{SUBTITLE}</p>\n"
        + "".join(_section(section) for section in sections_of(certificate))
        + f'<script type="application/json" id="certificate">\n{data}\n</script>\n</body>\n</html>\n'
    )


def _section(section: Section) -> str:
    head = f"<h2>{escape(section.title)}</h2>\n"
    if not section.rows:
        return f"{head}<p>{escape(section.empty)}</p>\n"
    if section.header:
        columns = "".join(f"<th>{escape(name)}</th>" for name in section.header)
        rows = "".join(f"<tr>{_cells(row)}</tr>\n" for row in section.rows)
        return f"{head}<table><thead><tr>{columns}</tr></thead>\n<tbody>\n{rows}</tbody></table>\n"
    rows = "".join(f"<tr><th>{escape(row[0])}</th>{_cells(row[1:])}</tr>\n" for row in section.rows)
    return f"{head}<table><tbody>\n{rows}</tbody></table>\n"


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"<td>{'<br>'.join(_line(line) for line in text.split(chr(10)))}</td>" for text in texts)


def _line(text: str) -> str:
    return f"<bdi>{escape(shown_text(text))}</bdi>"
