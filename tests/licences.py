"""Whether every package that is installed may be used and passed on: python tests/licences.py.

By what the packages' own metadata say (PEP 639, else classifiers, else the old field). A licence that is not listed
here has to be read by somebody first.
"""

import re
import sys
from importlib.metadata import Distribution, distributions
from typing import Final

_CLASSIFIER = "License :: "
# SPDX's names, and what older packages write for them. psycopg's LGPL is a library's that is not changed; the MPL is
# the tests' own (hypothesis, pathspec), which are not passed on.
ALLOWED: Final = frozenset(
    {
        *("0BSD", "3-Clause BSD License", "Apache", "Apache 2.0", "Apache License 2.0", "Apache Software License"),
        *("Apache-2.0", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "ISC", "ISC License (ISCL)"),
        *("LGPL-3.0-only", "MIT", "MIT License", "MIT-0", "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)"),
        *("PSF-2.0", "Python Software Foundation License", "The Unlicense (Unlicense)", "Unlicense", "Zlib"),
    }
)

# What tells none in its metadata, and has been read in its files.
READ: Final = {"atheris": "Apache-2.0"}


def licences(package: Distribution) -> list[str]:
    """What a package says it is under, each by itself."""
    told = package.metadata
    expression = told.get("License-Expression")
    if expression:
        return re.split(r" (?:AND|OR) ", expression)
    named = [one.rpartition(" :: ")[2] for one in told.get_all("Classifier", []) if one.startswith(_CLASSIFIER)]
    return named or [(told.get("License") or READ.get(told["Name"]) or "none told").splitlines()[0]]


def main() -> None:
    """Print what is not allowed; exit status 1 if there is any."""
    unknown = sorted(
        f"{package.metadata['Name']}: {licence}"
        for package in distributions()
        for licence in licences(package)
        if licence not in ALLOWED
    )
    sys.exit("\n".join(unknown) or None)


if __name__ == "__main__":
    main()
