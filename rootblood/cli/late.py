"""What commands stand on, loaded at its first use.

The container engine, the database and the doors take a second to load, and an operator waits for it at each
command. So `rootblood.cli.main` loads the module of the command that is run and no other; and the nouns,
whose help is asked for most, say `late.app` for `rootblood.app`, which is loaded once one of their
commands runs.
"""

import gc
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rootblood import app, databases, inventory, logs, records, settings

__all__ = ["app", "databases", "inventory", "load", "logs", "records", "settings"]


def load(name: str) -> ModuleType:
    """Import a module of this package, by its name in it."""
    full = f"rootblood.{name}"
    if full in sys.modules:
        return sys.modules[full]
    gc.disable()  # what modules make stays: looking for garbage in it again and again is a tenth of the time
    try:
        return importlib.import_module(full)
    finally:
        gc.enable()


if not TYPE_CHECKING:

    def __getattr__(name: str) -> ModuleType:
        if name not in __all__:
            raise AttributeError(name)
        return load(name)
