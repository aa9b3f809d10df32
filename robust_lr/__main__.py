"""``python -m robust_lr`` is the command ``robust-lr``."""

from .cli.main import main

if __name__ == "__main__":
    main()
