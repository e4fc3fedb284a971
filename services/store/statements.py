"""Parses a statement just enough to find its rows, and to redirect rows and results to files.

The parser knows only SQL's tokens: comments, strings, names, words and brackets. That suffices to
separate the rows of an INSERT from its text, and to insert the file that rows come from or a result
goes to. The functions are pure and work on bytes, since rows may be binary.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from services.store.errors import Code, StoreError

# As the engine's lexer has them. Non-ASCII bytes are quotes or blanks there, or refused.
_TOKEN: Final = re.compile(
    rb"""
      (?P<blank>   \s++ | --[^\n]*+ | //[^\n]*+ | \#[ !][^\n]*+ )
    | (?P<comment> /\* )
    | (?P<string>  '(?: [^'\\]++ | \\. | '' )*+' | [xX]'[0-9A-Fa-f]*+' | [bB]'[01]*+'
                 | \xe2\x80\x98 .*? \xe2\x80\x99 )
    | (?P<quoted>  `(?: [^`\\]++ | \\. | `` )*+` | "(?: [^"\\]++ | \\. | "" )*+"
                 | \xe2\x80\x9c .*? \xe2\x80\x9d )
    | (?P<open>    (?: ['`"] | \xe2\x80[\x98\x9c] ) .* )
    | (?P<foreign> (?: (?! \xe2\x80[\x98\x9c] ) [\x80-\xff] )++ )
    | (?P<tag>     \$\w*+\$ )
    | (?P<word>    [A-Za-z_$] [\w$]*+ )
    | (?P<number>  \d [\w.]*+ )
    | (?P<mark>    . )
    """,
    re.VERBOSE | re.DOTALL,
)
# `open` is an unclosed quote or comment: it takes the rest, so that no text is scanned twice.
# `tag` opens a heredoc if the same tag follows; otherwise a word begins there, as in `{$x$:Int32}`.
_TAG: Final = re.compile(rb"(?=(\$\w*+\$))")
_WORD: Final = re.compile(rb"[\w$]+")
_COMMENT_BRACKET: Final = re.compile(rb"/\*|\*/")
_OPEN, _CLOSE = b"([{", b")]}"
_END_OF_FORMAT_LINE: Final = re.compile(rb"[ \t\f]*(?:\r?\n)?")


class Token(NamedTuple):
    """A token; `depth` is how many brackets it is in."""

    kind: str
    text: bytes
    start: int
    end: int
    depth: int

    @property
    def word(self) -> bytes:
        """Return the word in capitals; empty if the token is none."""
        return self.text.upper() if self.kind == "word" else b""


class Insert(msgspec.Struct, frozen=True):
    """An INSERT whose rows follow its text, from the offset `data_at` on."""

    head: bytes  # the text up to the clause that names the source of the rows
    settings: bytes  # the SETTINGS clause, or empty
    format: bytes
    data_at: int
    # For INSERT … SELECT … FROM input('…'): where `input(` begins and ends
    input_at: tuple[int, int] | None = None

    def reading(self, path: str) -> bytes:
        """Return the statement that reads its rows from the file at `path`."""
        source = path.encode()
        if self.input_at is None:
            settings = b" " + self.settings if self.settings else b""
            return b"%b FROM INFILE '%b'%b FORMAT %b" % (self.head, source, settings, self.format)
        start, end = self.input_at
        call = b"file('%b', '%b', " % (source, self.format)
        return self.head[:start] + call + self.head[end:] + b" " + self.settings


class Query(msgspec.Struct, frozen=True):
    """Any other statement, complete in `text`; `format` is empty if it names none."""

    text: bytes
    output_at: int  # where INTO OUTFILE belongs
    format: bytes

    def writing(self, path: str, default_format: str) -> bytes:
        """Return the statement that writes its result into the file at `path`."""
        head, tail = self.text[: self.output_at], self.text[self.output_at :]
        if not self.format:
            tail = b" FORMAT " + default_format.encode()
        return b"%b INTO OUTFILE '%b' TRUNCATE %b" % (head, path.encode(), tail)

    def describing(self) -> bytes:
        """Return the statement that lists the columns of this one's result."""
        settings = self.text[self.output_at :].partition(self.format)[2] if self.format else b""
        return b"DESCRIBE TABLE (%b\n%b\n)" % (self.text[: self.output_at], settings)


def read_statement(text: bytes) -> Insert | Query:
    """Parse `text` as an INSERT with rows, or else as another statement; rows may follow the text.

    Raises:
        StoreError: the statement would access a file of this machine, or objects of this process.
    """
    tokens = read_tokens(text)
    if _starts_insert(tokens):
        insert = _read_insert(text, tokens)
        if insert is not None:
            return insert
    return _read_query(text)


def read_tokens(text: bytes) -> Iterator[Token]:
    """Yield the tokens of a statement, without blanks and comments."""
    depth = at = 0
    last_tags: dict[bytes, int] = {}
    while match := _TOKEN.match(text, at):
        kind, start, at = match.lastgroup, at, match.end()
        if kind is None or kind in {"blank", "foreign"}:
            continue
        if kind == "comment":
            end = _end_of_comment(text, at)
            if end is not None:
                at = end
                continue
            kind, at = "open", len(text)
        if kind == "tag":
            last_tags = last_tags or {tag[1]: tag.start() for tag in _TAG.finditer(text)}
            kind, at = _read_heredoc(text, match, last_tags)
        token = text[start:at]
        if kind == "mark" and token in _CLOSE:
            depth = max(0, depth - 1)
        yield Token(kind, token, start, at, depth)
        if kind == "mark" and token in _OPEN:
            depth += 1


def _end_of_comment(text: bytes, start: int) -> int | None:
    """Return where a comment whose text begins at `start` ends; None if it does not. They nest."""
    depth = 1
    for bracket in _COMMENT_BRACKET.finditer(text, start):
        depth += 1 if bracket[0] == b"/*" else -1
        if not depth:
            return bracket.end()
    return None


def _read_heredoc(
    text: bytes, tag: re.Match[bytes], last_tags: Mapping[bytes, int]
) -> tuple[str, int]:
    """Return the kind and the end of the token that begins with `tag`."""
    if last_tags[tag[0]] >= tag.end():
        return "string", text.index(tag[0], tag.end()) + len(tag[0])
    word = _WORD.match(text, tag.start())
    return "word", word.end() if word else tag.end()


def _starts_insert(tokens: Iterator[Token]) -> bool:
    """Read up to an INSERT, which may follow a WITH clause; return whether there is one."""
    before = b""
    for number, token in enumerate(tokens):
        if number == 0 and token.word != b"WITH":
            return token.word == b"INSERT"
        if token.text == b";" and not token.depth:
            return False
        if before == b"INSERT" and token.word == b"INTO" and not token.depth:
            return True
        before = token.word
    return False


def _read_insert(text: bytes, tokens: Iterator[Token]) -> Insert | None:
    """Parse the tokens after INSERT; return None if no rows follow (INSERT … SELECT)."""
    settings_at = input_start = -1
    input_at: tuple[int, int] | None = None
    selecting = False
    before = b"INTO"
    for token in tokens:
        word, after = token.word, before
        before = word or token.text
        # The word after INTO, TABLE or a dot is a name, even if it is a keyword.
        if after in {b"INTO", b"TABLE", b"."} and word not in {b"INTO", b"TABLE", b"FUNCTION"}:
            continue
        if word == b"INFILE" and after == b"FROM":
            raise StoreError(Code.SUPPORT_IS_DISABLED, "FROM INFILE is not allowed over HTTP")
        if word == b"INPUT" and selecting:
            input_start = token.start
        elif token.text == b"(" and after == b"INPUT" and input_start >= 0:
            input_at = input_start, token.end
        elif token.depth:
            continue
        elif token.text == b";":
            return None
        elif word in {b"SELECT", b"WITH"}:
            selecting = True
        elif word == b"SETTINGS" and not selecting:
            settings_at = token.start
        elif word == b"VALUES" and not selecting:
            head, settings = _split(text, settings_at, token.start)
            return Insert(head, settings, b"Values", token.end)
        elif word == b"FORMAT":
            name = next(tokens, None)
            if name is None or name.kind != "word" or (selecting and input_at is None):
                return None
            head, settings = _split(text, settings_at, token.start)
            more, end = _settings_after(text, name.end)
            return Insert(
                head, settings or more, name.text, _data_after(text, end), input_at=input_at
            )
    return None


def _split(text: bytes, settings_at: int, end: int) -> tuple[bytes, bytes]:
    if settings_at < 0:
        return text[:end].rstrip(), b""
    return text[:settings_at].rstrip(), text[settings_at:end].strip()


def _settings_after(text: bytes, start: int) -> tuple[bytes, int]:
    """Return the SETTINGS clause right after the format's name, or nothing, and where it ends."""
    tokens = list(_take(read_tokens(text[start : start + 65_536]), 256))
    if not tokens or tokens[0].word != b"SETTINGS":
        return b"", start
    at = 1
    while at + 2 < len(tokens) and tokens[at].kind == "word" and tokens[at + 1].text == b"=":
        at += 4 if tokens[at + 2].text in {b"-", b"+"} else 3
        if at >= len(tokens) or tokens[at].text != b",":
            break
        at += 1
    end = start + tokens[min(at, len(tokens)) - 1].end
    return text[start:end].strip(), end


def _take(tokens: Iterator[Token], count: int) -> Iterator[Token]:
    for _, token in zip(range(count), tokens, strict=False):
        yield token


def _data_after(text: bytes, end: int) -> int:
    match = _END_OF_FORMAT_LINE.match(text, end)
    return match.end() if match else end


def _read_query(text: bytes) -> Query:
    tokens = list(read_tokens(text))
    while tokens and tokens[-1].text == b";":
        tokens.pop()
    end = tokens[-1].end if tokens else 0
    output_at, name = end, b""
    for at, token in enumerate(tokens):
        after = tokens[at + 1] if at + 1 < len(tokens) else None
        if after is None:
            break
        if token.word == b"INTO" and after.word == b"OUTFILE":
            raise StoreError(Code.INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed over HTTP")
        if token.word == b"PYTHON" and after.text == b"(":
            raise StoreError(Code.UNKNOWN_FUNCTION, "Table function Python is not known")
        if token.word == b"FORMAT" and after.kind == "word" and not token.depth:
            last = at + 2 == len(tokens) or tokens[at + 2].word == b"SETTINGS"
            if last:
                output_at, name = token.start, after.text
    return Query(text[:end], output_at, name)


def is_column_list(text: bytes) -> bool:
    """Return whether `text` is not empty and cannot close the brackets that it is put into."""
    depth = 0
    for token in read_tokens(text):
        if token.kind == "open" or token.text == b";":
            return False
        if token.kind == "mark":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
        if depth < 0:
            return False
    return depth == 0 and bool(text.strip())
