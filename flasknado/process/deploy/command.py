"""The command `flasknado deploy`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from gunicorn.errors import ConfigError

from flasknado.errors import ConfigurationError
from flasknado.process import serve
from flasknado.process.command_line import CommandLine
from flasknado.process.configuration import ENVIRONMENT_PREFIX
from flasknado.process.deploy import compose, kubernetes, nginx, procfile, systemd
from flasknado.process.deploy.site import (
    Site,
    image_checked,
    name_checked,
    source_of,
    words_checked,
)
from flasknado.process.settings import SECRET

KINDS: Mapping[str, Callable[[Site], dict[str, str]]] = {
    "systemd": systemd.files,
    "nginx": nginx.files,
    "compose": compose.files,
    "kubernetes": kubernetes.files,
    "procfile": procfile.files,
}


def main(arguments: Sequence[str]) -> NoReturn:
    """Print the files of one kind, or write them with `--to FOLDER`; ends the process.

    arguments: the command line after `deploy`: a kind, options of deploy, and then what
    `flasknado` takes to serve the application.
    """
    parser = argparse.ArgumentParser(
        prog="flasknado deploy",
        description="Print files that deploy an application, for the options that it is served "
        "with.",
        usage="%(prog)s KIND [--domain NAME] [--image NAME] [--to FOLDER] [OPTIONS] MODULE:APP",
        allow_abbrev=False,
    )
    parser.add_argument("kind", metavar="KIND", choices=KINDS, help=", ".join(KINDS))
    parser.add_argument(
        "--domain", default="www.example.com", help="the name of the site, for nginx"
    )
    parser.add_argument("--image", default="", help="the image, for Kubernetes")
    parser.add_argument("--to", metavar="FOLDER", help="write the files there; none may exist yet")
    own, rest = parser.parse_known_args(arguments)
    try:
        files = KINDS[own.kind](site_of(rest, own.domain, own.image))
        if own.to is None:
            _print(files)
        else:
            _write(files, Path(own.to))
    except (ConfigurationError, ConfigError) as error:
        serve.fail(str(error))
    raise SystemExit(0)


def site_of(arguments: Sequence[str], domain: str, image: str) -> Site:
    """Return what a command line says of an application; raises `ConfigurationError`."""
    words_checked(arguments)
    sys.argv = [sys.argv[0], *arguments]
    line = CommandLine("%(prog)s [OPTIONS] MODULE:APP", prog="flasknado")
    _refuse_variables(line)
    application = str(line.app_uri)
    return Site(
        application,
        _without(arguments, application),
        tuple(line.cfg.settings["bind"].get()) if source_of(line.cfg.settings["bind"]) else (),
        Path(line.cfg.chdir),
        line.cfg,
        name_checked(domain),
        image_checked(image),
    )


def _refuse_variables(line: CommandLine) -> None:
    """Raise `ConfigurationError` for a setting of this shell, which the service will not have."""
    for name, setting in line.cfg.settings.items():
        source = source_of(setting)
        if source.startswith(ENVIRONMENT_PREFIX) and name not in SECRET:
            raise ConfigurationError(
                f"{source} is set here, but will not be where the files are used: unset it, and "
                f"write its option or a configuration file"
            )


def _without(arguments: Sequence[str], application: str) -> tuple[str, ...]:
    """Return the options, without the application and where to listen."""
    kept: list[str] = []
    skips = False
    for word in arguments:
        if skips or word == application:
            skips = False
        elif word in ("-b", "--bind"):
            skips = True
        elif not word.startswith(("--bind=", "-b")):
            kept.append(word)
    return tuple(kept)


def _print(files: Mapping[str, str]) -> None:
    texts = [f"# {path}\n{text}" for path, text in files.items()]
    print("\n".join(texts), end="")  # noqa: T201 (a command's answer)


def _write(files: Mapping[str, str], folder: Path) -> None:
    for path, text in files.items():
        place = folder / Path(path).name
        try:
            with place.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ConfigurationError(
                f"{str(place)!r} cannot be written ({error.strerror}): remove it, or choose "
                f"another folder with --to"
            ) from None
        print(place)  # noqa: T201 (a command's answer)
