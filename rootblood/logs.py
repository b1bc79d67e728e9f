"""Structured logs on stderr: structlog through the standard library's logging.

Events are snake_case; who they concern is bound as `connection_id` and `userhash`. Whatever a client sent may
stand in a value, so control characters are escaped when a line is rendered, and only then.
"""

import logging
import sys

import structlog

from rootblood.domain.text import escape_controls

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_CHATTY = ("asyncssh", "docker", "urllib3", "aiosqlite", "aiohttp.access", "alembic")


def _escape_values(
    _logger: object, _name: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    return {key: escape_controls(value) if isinstance(value, str) else value for key, value in event.items()}


def configure_logs(level: str, form: str) -> None:
    """Send the log to stderr.

    Args:
        level: `debug`, `info`, `warning`, `error` or `critical`.
        form: `json`, `console`, or `auto`: for people where stderr is a terminal, JSON lines elsewhere.
    """
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if as_json:
        rendering: list[structlog.types.Processor] = [
            structlog.processors.format_exc_info,
            _escape_values,
            structlog.processors.JSONRenderer(),
        ]
    else:
        rendering = [_escape_values, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(_LEVELS[level], logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
