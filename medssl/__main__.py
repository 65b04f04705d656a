"""`python -m medssl`: the command line of `commands`."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks for modules in the working directory first: a folder called dl or pyarrow, or a file random.py,
    # would be taken for the module that some library would like to have. A bundle finds a user's classes there still.
    del sys.path[0]

from medssl.commands import main

if __name__ == "__main__":
    sys.exit(main())
