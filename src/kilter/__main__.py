"""``python -m kilter``: the command, where its script is not on the path."""

from kilter._cli.main import main

if __name__ == "__main__":
    main()
