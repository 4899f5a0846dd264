"""The ``kilter`` command, and ``python -m kilter``, where its script is not on the path."""

import sys

from kilter._system import BY_CTRL_C


def main() -> None:
    """Load and run the command line. Ctrl-C ends it quietly from the first moment on."""
    try:
        from kilter._cli.main import main as command

        command()
    except KeyboardInterrupt:  # while it was loading: afterwards the command reports it
        sys.exit(BY_CTRL_C)


if __name__ == "__main__":
    main()
