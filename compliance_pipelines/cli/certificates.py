"""`compliance erase certificate` and `compliance erase record`: the two documents of an erasure.

Here: arguments, and which form a file's name asks for. Not here: what is in the documents.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.erasure.auditor_record import record_of
from compliance_pipelines.erasure.certificate import LanguageCode, certificate_of, require_sender, sender_of
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from compliance_pipelines.erasure.pages import Document

_JSON: Final = ".json"
_FORMS: Final = (_JSON, ".html", ".pdf")


def _form(_context: click.Context, _parameter: click.Parameter, output: Path) -> Path:
    if output.suffix not in _FORMS:
        raise click.UsageError(f"{output}: the name must end with {', '.join(_FORMS)}")
    return output


_output = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    callback=_form,
    help="FILE.json, .html or .pdf.",
)


@click.command("certificate")
@click.argument("request_id", type=int)
@_output
@click.option(
    "--language", type=click.Choice(["en", "de", "fr"]), help="Of the letter. Default: the setting GDPR_LANGUAGE."
)
@click.option("--addressee", multiple=True, help="A line of the name and address that it is sent to; repeatable.")
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, at_once=False, names_people=True)
def certificate(request_id: int, output: Path, language: LanguageCode | None, addressee: tuple[str, ...]) -> None:
    """Write the certificate of a closed request: the letter that the person gets.

    It holds nothing internal and nothing of other people. `compliance verify-proof` checks the JSON form anywhere.
    """
    settings = load_settings()
    if output.suffix != _JSON:
        require_sender(sender_of(settings))
    with opened() as services:
        document = certificate_of(services, request_id, language=language, addressee=addressee)

    def letter() -> Document:
        from compliance_pipelines.erasure.letter import letter_of  # noqa: PLC0415 - other commands start faster

        return letter_of(document)

    _write(output, document, letter)
    click.echo(f"{output}: certificate of erasure request {request_id}, for the person")
    if document["proof"] is None:
        click.echo("it has no proof: the request was closed before certificates were bound to the audit log", err=True)


@click.command("record")
@click.argument("request_id", type=int)
@_output
@needs(Need.DATABASE, Need.COLD_STORE, Need.PUBLIC_KEY, at_once=False, names_people=True)
def record(request_id: int, output: Path) -> None:
    """Write the internal record of a closed request: every detail, for an auditor.

    It names systems, holds and data of other people: do not give it to the person.
    """
    with opened() as services:
        document = record_of(services, request_id)

    def pages() -> Document:
        from compliance_pipelines.erasure.record_pages import record_document  # noqa: PLC0415 - as above

        return record_document(document)

    _write(output, document, pages)
    click.echo(f"{output}: internal record of erasure request {request_id}, not for the person")


def _write(output: Path, document: dict[str, Any], pages: Callable[[], Document]) -> None:
    try:
        output.write_bytes(_rendered(output.suffix, document, pages))
    except OSError as error:
        raise ComplianceError(f"the document cannot be written to {output}: {error.strerror}") from error


def _rendered(suffix: str, document: dict[str, Any], pages: Callable[[], Document]) -> bytes:
    if suffix == ".html":
        from compliance_pipelines.erasure.pages_html import to_html  # noqa: PLC0415 - as above

        return to_html(pages()).encode()
    if suffix == ".pdf":
        from compliance_pipelines.erasure.pages_pdf import to_pdf  # noqa: PLC0415 - loads the typesetter and fonts

        return to_pdf(pages())
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()


COMMANDS: Final[list[click.Command]] = [certificate, record]
