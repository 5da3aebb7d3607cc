"""Where alerts go: the log, webhooks, e-mail. Each takes a message whole, or raises AlertNotDelivered.

Here: delivering, and saying what went wrong without a secret. Not here: what is told and when
(`geo_assets.alerts.alerts`).
"""

import json
import logging
import smtplib
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.client import HTTPException
from typing import Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

import stamina
from pydantic import SecretStr

from geo_assets.alerts.alerts import Notification
from geo_assets.errors import AlertNotDelivered
from geo_assets.settings import Settings

# All tries together stay well below the minute that a tick of a sensor has.
SECONDS = 8
ATTEMPTS = 3


class Destination(Protocol):
    """Something that takes messages; ``name`` tells it from the others and is no secret."""

    @property
    def name(self) -> str:
        """As people are shown it."""

    def deliver(self, message: Notification) -> None:
        """Hand the message over. Raises AlertNotDelivered, whose text has no secret."""


class _PassingTrouble(Exception):
    """Why a try failed that may succeed in a moment."""


def _deliver_with_retries(send: Callable[[], None]) -> None:
    """Call ``send`` again where the trouble may pass. Raises AlertNotDelivered with what the last try met."""
    try:
        for attempt in stamina.retry_context(on=_PassingTrouble, attempts=ATTEMPTS, wait_initial=0.2, wait_max=2):
            with attempt:
                send()
    except _PassingTrouble as trouble:
        raise AlertNotDelivered(str(trouble)) from None


@dataclass(frozen=True, slots=True)
class LogDestination:
    """The log of whoever delivers: of the sensor's tick, or of a program."""

    log: logging.Logger
    name: str = "log"

    def deliver(self, message: Notification) -> None:
        """Write an error, or what has ended as information."""
        ended = all(alert.state == "resolved" for alert in message.alerts)
        self.log.log(logging.INFO if ended else logging.ERROR, "%s\n\n%s", message.subject, message.text)


def _opener() -> OpenerDirector:
    """Opens addresses and follows no redirect, which would make a GET without a body of a POST."""
    opener = OpenerDirector()
    for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPErrorProcessor):
        opener.add_handler(handler())
    return opener


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that takes JSON by POST; whoever knows it may write there, so it is never shown."""

    name: str
    url: SecretStr

    def deliver(self, message: Notification) -> None:
        """POST the message and wait for a 2xx. Answers 429 and 5xx, and no answer, are tried again."""
        body = json.dumps(message.as_json()).encode()
        _deliver_with_retries(lambda: self._post(body))

    def _post(self, body: bytes) -> None:
        url = self.url.get_secret_value()
        if urlsplit(url).scheme not in ("http", "https"):
            raise AlertNotDelivered(f"{self.name} is no http or https address.")
        headers = {"Content-Type": "application/json", "User-Agent": "geo_assets"}
        try:
            with _opener().open(Request(url, body, headers, method="POST"), timeout=SECONDS):
                return
        except HTTPError as error:
            with error:
                kind = _PassingTrouble if error.code == 429 or error.code >= 500 else AlertNotDelivered
                raise kind(f"{self.name} answers {error.code}.") from None
        except (OSError, HTTPException, ValueError) as error:
            # Their texts may quote the address.
            reason = getattr(error, "reason", error)
            raise _PassingTrouble(f"{self.name} cannot be reached: {type(reason).__name__}.") from None


@dataclass(frozen=True, slots=True)
class Email:
    """Addresses that take e-mail, through one SMTP server."""

    recipients: tuple[str, ...]
    sender: str
    host: str
    port: int
    user: str | None
    password: SecretStr | None
    security: str
    name: str = "email"

    def deliver(self, message: Notification) -> None:
        """Send one e-mail to all recipients; what passes is tried again."""
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.subject.split())
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.recipients)
        mail["Date"] = formatdate(message.now.timestamp())
        mail["Message-ID"] = make_msgid(domain="geo_assets")
        mail.set_content(message.text)
        _deliver_with_retries(lambda: self._send(mail))

    def _send(self, mail: EmailMessage) -> None:
        if self.password is not None and self.security == "none":
            raise AlertNotDelivered(
                "No e-mail is sent: the password would cross the network in the clear.",
                remedy="Set GEO_ASSETS_SMTP_SECURITY to starttls or tls.",
            )
        try:
            with self._connect() as server:
                refused = server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = ", ".join(sorted({str(code) for code, _ in error.recipients.values()}))
            raise AlertNotDelivered(f"The server at {self._address} refuses every recipient ({codes}).") from None
        except smtplib.SMTPNotSupportedError:
            raise AlertNotDelivered(f"The server at {self._address} offers no STARTTLS or no login.") from None
        except smtplib.SMTPResponseException as error:
            kind = _PassingTrouble if 400 <= error.smtp_code < 500 else AlertNotDelivered
            raise kind(f"the server at {self._address} answers {error.smtp_code} ({type(error).__name__}).") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
            raise _PassingTrouble(f"the server at {self._address} cannot be used: {reason}.") from None
        if refused:
            logging.getLogger(__name__).warning("%s took no e-mail for %s", self._address, ", ".join(sorted(refused)))

    def _connect(self) -> smtplib.SMTP:
        """A session that is encrypted as ``security`` says, and logged in where there is a user."""
        context = ssl.create_default_context()
        if self.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=SECONDS)
        try:
            if self.security == "starttls":
                server.starttls(context=context)
            if self.user is not None and self.password is not None:
                server.login(self.user, self.password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server

    @property
    def _address(self) -> str:
        return f"{self.host}:{self.port}"


def open_destinations(settings: Settings, log: logging.Logger) -> list[Destination]:
    """The log, and what the environment names beside it."""
    destinations: list[Destination] = [LogDestination(log)]
    urls = settings.alert_webhooks.get_secret_value().split() if settings.alert_webhooks else []
    destinations += [Webhook(f"webhook {number}", SecretStr(url)) for number, url in enumerate(urls, start=1)]
    recipients = tuple(address.strip() for address in (settings.alert_email or "").split(",") if address.strip())
    if recipients:
        destinations.append(
            Email(
                recipients=recipients,
                sender=settings.alert_sender,
                host=settings.smtp_host,
                port=settings.smtp_port,
                user=settings.smtp_user,
                password=settings.smtp_password,
                security=settings.smtp_security,
            )
        )
    return destinations


def deliver_all(messages: Mapping[str, Notification], destinations: list[Destination]) -> dict[str, AlertNotDelivered]:
    """Deliver to each destination the message under its name, all at once; what went wrong, by name."""

    def deliver(destination: Destination) -> AlertNotDelivered | None:
        try:
            destination.deliver(messages[destination.name])
        except AlertNotDelivered as error:
            return error
        return None

    wanted = [destination for destination in destinations if destination.name in messages]
    if not wanted:
        return {}
    with ThreadPoolExecutor(len(wanted)) as threads:
        outcomes = zip(wanted, threads.map(deliver, wanted), strict=True)
        return {destination.name: error for destination, error in outcomes if error is not None}
