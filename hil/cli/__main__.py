"""``python -m hil.cli`` is ``hil``."""

from hil.cli.main import run

if __name__ == "__main__":
    run()
