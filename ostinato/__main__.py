"""The command line as ``python -m ostinato``, where another program has the name ``ostinato`` on PATH."""

from ostinato.cli import main

if __name__ == "__main__":
    main()
