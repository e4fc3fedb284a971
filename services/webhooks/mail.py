"""Sends messages by e-mail."""

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit

from schemas.notices.delivery import Message
from schemas.settings import Settings
from services.webhooks.post import Answer
from services.webhooks.texts import line_of, lines_of

_TIMEOUT_S: Final = 15.0
_MAX_SUBJECT_CHARS: Final = 150
_SMTP_PORT: Final = 25
_SMTPS_PORT: Final = 465


def send_mail(settings: Settings, to: Sequence[str], message: Message) -> Answer:
    """Send a message; blocks for some seconds. The id is that of the e-mail, too.

    Recipients that the server refuses while it takes others are named in the reason.
    """
    if not settings.smtp_url:
        return Answer(0, "AVILA_SMTP_URL is not set: no e-mail can be sent")
    try:
        refused = _send(settings, to, _mail(settings, to, message))
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error
        reason = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        return Answer(int(error.smtp_code), reason[:200])
    except (smtplib.SMTPException, OSError) as error:
        return Answer(0, f"the mail server does not take it: {error}"[:200])
    return Answer(250, f"refused for {', '.join(sorted(refused))}" if refused else "")


def _mail(settings: Settings, to: Sequence[str], message: Message) -> EmailMessage:
    mail = EmailMessage()
    line = line_of(message)
    mail["Subject"] = f"[Avila] {line}"[:_MAX_SUBJECT_CHARS]
    mail["From"] = settings.smtp_from
    mail["To"] = ", ".join(to)
    mail["Message-ID"] = f"<{message.id}@avila>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join(lines_of(message)))
    return mail


def _send(
    settings: Settings, to: Sequence[str], mail: EmailMessage
) -> dict[str, tuple[int, bytes]]:
    parts = urlsplit(str.__str__(settings.smtp_url))
    host, secure = parts.hostname or "", parts.scheme == "smtps"
    context = ssl.create_default_context()
    server: smtplib.SMTP
    if secure:
        port = parts.port or _SMTPS_PORT
        server = smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(host, parts.port or _SMTP_PORT, timeout=_TIMEOUT_S)
    with server:
        server.ehlo()
        if not secure and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        return server.send_message(mail, settings.smtp_from, list(to))
