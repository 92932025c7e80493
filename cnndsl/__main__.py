"""``python -m cnndsl`` is the ``cnndsl`` command."""

from cnndsl.cli import main

if __name__ == "__main__":
    main()
