"""Errors as problem details (RFC 9457), and which of them are the database's fault and pass without action.

Here: the API's own errors, the status of each, and the handlers that every part of the application gets. Not here: the
errors of STAC and of tiles that their libraries answer in the forms their specifications ask for.
"""

import re
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, cast

import asyncpg
import psycopg
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout, TooManyRequests
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from geo_assets.errors import (
    DatabaseUnavailable,
    GeoAssetsError,
    InvalidConfiguration,
    PermanentError,
    TransientError,
    Unforeseen,
)
from geo_assets.postgres.errors import kind_of

RETRY_SECONDS = 2
_MOST_ERRORS = 20
MEDIA_TYPE = "application/problem+json"
_SAID_CHARACTERS = 500
_ANOTHER_ROUTE = "Use another route; /api/docs lists them."
log = structlog.get_logger("geo_assets.api")


class Unauthenticated(PermanentError):
    """The request has no valid key or token."""

    code = "unauthenticated"
    remedy = "Send a key or a token: Authorization: Bearer ..., or X-API-Key."


class Forbidden(PermanentError):
    """The caller may not do this."""

    code = "forbidden"
    remedy = "Use a key or token with the scope that this route requires, or ask your administrator for one."


class NotFound(PermanentError):
    """The thing that the request names does not exist."""

    code = "not_found"
    remedy = "Check the address and the names in it; /api/docs lists the routes."


class InvalidRequest(PermanentError):
    """The request is not valid."""

    code = "invalid_request"
    remedy = "Correct the request; /api/docs has examples."


class Conflict(PermanentError):
    """The thing is in a state that does not allow it."""

    code = "conflict"
    remedy = "Read its current state, then decide whether to send the request again."


class RequestTooLarge(PermanentError):
    """The body, or what is asked for, is larger than this server allows."""

    code = "request_too_large"
    remedy = "Send less, or ask for less, in one request."


class SentTooSlowly(PermanentError):
    """The body of the request did not come in time."""

    code = "sent_too_slowly"
    remedy = "Send it faster, or in several requests."


class TooManyRequestsMade(TransientError):
    """This caller asks more often than this server allows."""

    code = "too_many_requests"
    remedy = "Wait for as long as Retry-After says."


class Busy(TransientError):
    """The server works on as many such requests as it takes at once."""

    code = "busy"
    remedy = "Try again after Retry-After, or ask for less at once."


class QueryTooSlow(TransientError):
    """The database would have worked longer on this than it may."""

    code = "query_too_slow"
    remedy = "Ask for less: a smaller box, a shorter time, fewer collections, or a filter on an indexed property."


class IdentityUnavailable(TransientError):
    """The issuer of tokens does not give its keys."""

    code = "identity_unavailable"
    remedy = "Try again after Retry-After; if that does not help, check `GEO_ASSETS_API_OIDC_ISSUER` and its network."


class Unreadable(GeoAssetsError):
    """The blob of an asset cannot be read."""

    code = "unreadable"
    remedy = "Check the blob with `geo-assets quarantine explain` or in /api/db/tasks; upload it again if damaged."


STATUS: dict[type[GeoAssetsError], int] = {
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    RequestTooLarge: 413,
    SentTooSlowly: 408,
    TooManyRequestsMade: 429,
    InvalidConfiguration: 500,
    Unforeseen: 500,
    Unreadable: 502,
    PermanentError: 400,
    TransientError: 503,
}

_DATABASE_GONE: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,  # the login is not made yet, or has another password
    asyncpg.InvalidCatalogNameError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what it says of a connection that ended amid an answer
    psycopg.OperationalError,
    psycopg.InterfaceError,
    PoolTimeout,
    TooManyRequests,
    ConnectionError,
    TimeoutError,
)
_QUERY_ENDED: tuple[type[Exception], ...] = (asyncpg.QueryCanceledError, psycopg.errors.QueryCanceled)
# The rest of what the database says: some of it of the request, the others of us.
_QUERY_REFUSED: tuple[type[Exception], ...] = (asyncpg.PostgresError, psycopg.Error)
# By SQLSTATE, or its first two characters, in our words: PostgreSQL's have values in them.
_WORDS = {
    "22": "a value does not fit the type of what it is compared with, or is out of its range.",
    "23": "a value is missing, or refers to what is not there.",
    "42": "a property has another type than the query takes it for, or the query is none that it knows.",
    "42703": "there is no such property.",
    "54": "the query is too large or nested too deeply.",
    "P0": "the query is not one that the catalogue can answer.",
    "XX000": "it cannot work on a geometry of the query.",
}
# What PgSTAC raises itself, where that helps: its words without the values.
_PGSTAC_WORDS = {
    r"Term .* is not found in queryables": "a property of the filter is none of the queryables.",
    r"Property .* is not temporal": "a property of the filter is no time.",
    r"(Temporal|An interval|A duration|Timestamp|Datetime|Please use temporal)": "a time or an interval is not one.",
    r"Spatial Operator": "the spatial operator is not known.",
    r"Spatial operand": "an operand is neither a geometry nor a bbox.",
    r"Operator .* Not Supported": "an operator of the filter is not known.",
    r"The .* operator": "an operator of the filter has operands that it does not take.",
    r"Free text query": "the text to search for has characters that it may not have.",
    r"Can only use either query or filter": "use either query or filter.",
    r"Invalid sortby": "sortby is not a list of fields, each asc or desc.",
    r"(Invalid paging token|Could not find item using token)": "the token of the page is not one, or its item is gone.",
    r"Collection .* does not exist": "there is no such collection.",
    r"Invalid .*: must be a non-negative integer": "a number is not a whole number of at least 0.",
}


def status_of(error: GeoAssetsError) -> int:
    """The HTTP status of an error of ours: that of the first of its classes that has one."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_response(error: GeoAssetsError, *, correlation_id: str, path: str, **further: Any) -> JSONResponse:
    """The error as a response; a temporary one says when to try again."""
    status = status_of(error)
    document = {
        "type": f"urn:geo-assets:error:{error.code}",
        "title": (type(error).__doc__ or error.code).splitlines()[0].rstrip("."),
        "status": status,
        "detail": error.message,
        "code": error.code,
        **({"remedy": error.remedy} if error.remedy else {}),
        "instance": path,
        "correlation_id": correlation_id,
        **further,
    }
    headers: dict[str, str] = {}
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_SECONDS)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="geo_assets"'
    return JSONResponse(document, status, headers, media_type=MEDIA_TYPE)


def install_handlers(app: FastAPI, *, own_forms: bool = False) -> None:
    """Give ``app`` the handlers of errors that no part of it knows; with ``own_forms`` its other errors stay as are."""
    app.add_exception_handler(GeoAssetsError, _answer)
    for kind in _DATABASE_GONE:
        app.add_exception_handler(kind, _database_gone)
    for kind in _QUERY_ENDED:
        app.add_exception_handler(kind, _query_ended)
    for kind in _QUERY_REFUSED:
        app.add_exception_handler(kind, _query_refused)
    app.add_exception_handler(Exception, _unforeseen)
    if not own_forms:
        app.add_exception_handler(RequestValidationError, _invalid)
        app.add_exception_handler(HTTPException, _http)
    own = cast(Callable[[Request, Exception], Any], app.exception_handlers[RequestValidationError])

    async def shortened(request: Request, error: Exception) -> Response:
        """In each part's own form, of the first errors: a polygon of wrong vertices has seven for each of them."""
        assert isinstance(error, RequestValidationError)
        first = [{key: each[key] for key in ("type", "loc", "msg")} for each in error.errors()[:_MOST_ERRORS]]
        answer = own(request, RequestValidationError(first))
        return cast(Response, await answer if isawaitable(answer) else answer)

    app.add_exception_handler(RequestValidationError, shortened)


def server_failed() -> Unforeseen:
    """What is said of an error that no part of the API knows."""
    return Unforeseen(
        "The server failed unexpectedly.",
        remedy="Report it with the correlation id; the log has the traceback under it.",
    )


def correlation_id_of(request: Request) -> str:
    """The id that the gate gave the request."""
    return str(request.scope.get("state", {}).get("correlation_id", ""))


def _respond(request: Request, error: GeoAssetsError, **further: Any) -> JSONResponse:
    return problem_response(error, correlation_id=correlation_id_of(request), path=request.url.path, **further)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GeoAssetsError)
    return _respond(request, in_our_words(error))


def in_our_words(error: GeoAssetsError) -> GeoAssetsError:
    """``error``, or one like it without the words of PostgreSQL, which only the log has: there are names in them."""
    cause = error.__cause__
    if not isinstance(cause, psycopg.Error):
        return error
    log.warning("database_unavailable", error=type(cause).__name__, said=str(cause)[:_SAID_CHARACTERS])
    missing = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName)
    said = "The database is not migrated." if isinstance(cause, missing) else _in_short(type(error))
    return type(error)(said, remedy=error.remedy)


def _in_short(kind: type[GeoAssetsError]) -> str:
    return "PostgreSQL does not answer." if kind is DatabaseUnavailable else str(kind.__doc__).splitlines()[0]


async def _database_gone(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, _QUERY_ENDED):
        return await _query_ended(request, error)
    log.warning("database_unavailable", error=type(error).__name__, said=str(error)[:_SAID_CHARACTERS])
    kind = kind_of(getattr(error, "sqlstate", None), str(error))
    remedy = "Try again: the API recovers automatically." if kind is DatabaseUnavailable else None
    return _respond(request, kind(_in_short(kind), remedy=remedy))


async def _query_ended(request: Request, _: Exception) -> JSONResponse:
    return _respond(request, QueryTooSlow("The database stopped the query."))


async def _query_refused(request: Request, error: Exception) -> JSONResponse:
    """Without PostgreSQL's words, which the log has: a value of the database may be in them."""
    state = str(getattr(error, "sqlstate", None) or "")
    said = str(error).splitlines()[0] if str(error) else ""
    log.warning("query_refused", sqlstate=state, error=type(error).__name__, said=said[:_SAID_CHARACTERS])
    if state == "42501":
        return _respond(request, Forbidden("This part of the API may not do that.", remedy=_ANOTHER_ROUTE))
    if state == "25006":
        return _respond(request, Forbidden("This part of the API only reads.", remedy=_ANOTHER_ROUTE))
    words = _WORDS.get(state) or _WORDS.get(state[:2])
    if state == "P0001":
        words = next((ours for theirs, ours in _PGSTAC_WORDS.items() if re.match(theirs, said)), words)
    if words is None:
        return _respond(request, server_failed())
    return _respond(request, InvalidRequest(f"The database refuses the query: {words}"))


async def _unforeseen(request: Request, _: Exception) -> JSONResponse:
    """The gate logs it, for the error goes on to there."""
    return _respond(request, server_failed())


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [{"at": ".".join(map(str, each["loc"])), "message": each["msg"]} for each in error.errors()]
    words = "; ".join(f"{each['at']}: {each['message']}" for each in errors)
    return _respond(request, InvalidRequest(words, remedy="Correct it; /api/docs has examples."), errors=errors)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known = {404: NotFound, 413: RequestTooLarge}
    kind = known.get(error.status_code, InvalidRequest)
    response = _respond(request, kind(str(error.detail)))
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response
