"""`rootblood doctor`: is this installation fit to serve, and if not, what is to be done."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from rootblood.app import open_core
from rootblood.cli.output import explain, print_json, say
from rootblood.domain.environments import Environment, EnvironmentState
from rootblood.domain.images import Images
from rootblood.domain.rendering import counted
from rootblood.errors import ConfigurationError, RootBloodError
from rootblood.inventory import build_engine
from rootblood.link.keys import read_link_keys
from rootblood.records import database_name, open_records
from rootblood.settings import MetricsSettings, Settings
from rootblood.ssh.greeting import read_texts
from rootblood.ssh.hostkeys import host_key_fingerprint
from rootblood.web.metrics.listener import PATH as METRICS_PATH
from rootblood.web.tls import read_tls


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check."""

    check: str
    ok: bool
    detail: str


def doctor(
    context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False
) -> None:
    """Check keys, database, engine, image, what environments share, texts, TLS. Exits 1 on a failure."""
    settings: Settings = context.obj
    findings = asyncio.run(examine(settings))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            say(f"{'ok  ' if finding.ok else 'FAIL'} {finding.check}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


async def examine(settings: Settings) -> list[Finding]:
    """Run every check; one that fails does not keep the others from running."""

    async def host_key() -> str:
        return host_key_fingerprint(settings.keys_dir)

    async def link_keys() -> str:
        read_link_keys(settings.keys_dir)
        return f"present in {settings.keys_dir}"

    async def database() -> str:
        async with open_records(settings) as records:
            return f"{counted(len(await records.accounts.list()), 'account')}, {database_name(settings)}"

    async def engine() -> str:
        engine = build_engine(settings)
        try:
            info = await engine.info()
        finally:
            await engine.close()
        return f"{info.kind} {info.version}"

    async def image() -> str:
        engine = build_engine(settings)
        try:
            return _image(await engine.images(), await engine.list())
        finally:
            await engine.close()

    async def environments() -> str:
        async with open_core(settings) as core:
            await core.environments.shared.prepare()
            if troubles := await core.engine.troubles():
                raise ConfigurationError("; ".join(troubles))
        return f"names and keys are on the volumes of instance {settings.engine.instance!r}"

    async def texts() -> str:
        read_texts(settings.ssh)
        shown = {"banner": settings.ssh.banner_file, "motd": settings.ssh.motd_file}
        return ", ".join(f"{name} from {file}" for name, file in shown.items() if file) or "the image's own"

    checks: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        ("host key", host_key),
        ("link keys", link_keys),
        ("database", database),
        ("container engine", engine),
        ("image", image),
        ("environments", environments),
        ("texts", texts),
        ("TLS", lambda: _tls(settings)),
        *([("metrics", lambda: _metrics(settings.metrics))] if settings.metrics.port is not None else []),
    ]
    return [await _run(name, check) for name, check in checks]


def _image(images: Images, environments: Sequence[Environment]) -> str:
    if images.current is None:
        raise ConfigurationError(f"{images.name} is missing; run: make image")
    told = [f"{images.name}, {images.current.short_id}"]
    if behind := images.behind(environments):
        running = sum(one.state is EnvironmentState.RUNNING for one in behind)
        told.append(
            f"{len(behind)} environments are of another and move at their next start, {running} of them run "
            "(rootblood image list; image upgrade --now)"
        )
    if images.upgrade_waits:
        told.append("a newer one is built and not in use: rootblood image upgrade")
    return "; ".join(told)


async def _tls(settings: Settings) -> str:
    if read_tls(settings.web) is None:
        return "the web door has none of its own"
    return f"of the web door from {settings.web.tls_cert_file}"


async def _metrics(settings: MetricsSettings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    port = settings.port or "<port of the ready line>"
    whom = "whoever reaches it" if settings.allow_remote else "this machine"
    return f"at http://{host}:{port}{METRICS_PATH}, for {whom}"


async def _run(name: str, check: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(name, ok=True, detail=await check())
    except RootBloodError as error:
        return Finding(name, ok=False, detail=explain(error))
