"""Files of client properties, as Java's Kafka clients and librdkafka's take them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from schemas.errors import Misconfigured

# What Java clients need and librdkafka does by itself.
_JAVA_ONLY: Final = re.compile(
    r"(key|value)\.(de)?serializer|ssl\.truststore\.type|ssl\.keystore\.type|ssl\.protocol"
    r"|sasl\.login\.callback\.handler\.class|sasl\.client\.callback\.handler\.class"
)
_JAAS: Final = re.compile(
    r"\s*\S+\.(?P<module>PlainLoginModule|ScramLoginModule)\s+required(?P<options>.*);\s*",
    re.DOTALL,
)
_JAAS_OPTION: Final = re.compile(r"(\w+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([^\s;]+))")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_LETTERS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def read_properties_file(file: Path) -> dict[str, str]:
    """Return the properties in `file`, by librdkafka's names.

    Raises:
        Misconfigured: the file cannot be read.
    """
    java = _read(file)
    found = {name: value for name, value in java.items() if not _JAVA_ONLY.fullmatch(name)}
    if java.get("ssl.truststore.type", "").upper() == "PEM" and "ssl.truststore.location" in found:
        found["ssl.ca.location"] = found.pop("ssl.truststore.location")
    if match := _JAAS.fullmatch(found.get("sasl.jaas.config", "")):
        del found["sasl.jaas.config"]
        for name, double, single, bare in _JAAS_OPTION.findall(match["options"]):
            if name in {"username", "password"}:
                text = re.sub(r"\\(.)", r"\1", double) if double else single or bare
                found.setdefault(f"sasl.{name}", text)
    return found


def _read(file: Path) -> dict[str, str]:
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Misconfigured(
            f"AVILA_KAFKA_PROPERTIES_FILE is {str(file)!r}, which cannot be read: {reason}"
        ) from None
    return dict(_split(line) for line in _logical_lines(text))


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines of a properties file, without comments, with continued lines joined."""
    pending = ""
    for line in text.splitlines():
        stripped = pending + line.lstrip()
        if not pending and (not stripped or stripped[0] in "#!"):
            continue
        backslashes = len(stripped) - len(stripped.rstrip("\\"))
        if backslashes % 2:
            pending = stripped[:-1]
            continue
        pending = ""
        yield stripped
    if pending:
        yield pending


def _split(line: str) -> tuple[str, str]:
    """Return name and value; both may contain Java's escapes."""
    match = re.match(r"((?:[^\\=:\s]|\\.)+)\s*[=:]?\s*", line)
    if match is None:
        raise Misconfigured(
            f"AVILA_KAFKA_PROPERTIES_FILE: a line begins with {line[:1]!r}, not with a property"
        )
    return _unescaped(match[1]), _unescaped(line[match.end() :]).rstrip()


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(
        lambda found: chr(int(found[1], 16)) if found[1] else _LETTERS.get(found[2], found[2]), text
    )
