"""Runs the network in this folder: `python FOLDER cat.png`, or `python FOLDER/main.py cat.png`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, by default the process's own; the exit status."""
    status: int = importlib.import_module(f"{_package()}.runtime.command").main(arguments)
    return status


def _package() -> str:
    """The name under which this folder is imported: its own, or one given here when it was started by its path."""
    if __package__:
        return __package__
    folder = Path(__file__).resolve().parent
    # Python searches the folder of what it starts. Nothing here is to be mistaken for another module.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != folder]
    name = "network_folder"
    place, searched = folder / "__init__.py", [str(folder)]
    spec = importlib.util.spec_from_file_location(name, place, submodule_search_locations=searched)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return name


if __name__ == "__main__":
    sys.exit(main())
