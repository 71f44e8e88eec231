"""Adds to an image what its own packages lack of a list of pins, and changes none of them.

python3 builder/add_packages.py builder/requirements/image.txt
"""

import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def main(lock: Path) -> None:
    before = installed()
    missing = [pin for pin in pins(lock) if canonicalize_name(pin.name) not in before]
    print(f"packages: adding {len(missing)} to {len(before)}", flush=True)
    if missing:
        # Without their dependencies: those are pins of the list too, or in the image already.
        options = ["--no-deps", "--no-cache-dir", "--compile"]
        words = [f"{pin.name}{pin.specifier}" for pin in missing]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *words], check=True)
    after = installed()
    changed = [name for name, version in before.items() if after.get(name) != version]
    if changed:
        sys.exit(f"packages: the base image's own were changed: {', '.join(changed)}")


def pins(lock: Path) -> list[Requirement]:
    """The requirements of a lock file that are for this Python and machine."""
    lines = (line.strip() for line in lock.read_text().splitlines())
    given = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [pin for pin in given if pin.marker is None or pin.marker.evaluate()]


def installed() -> dict[str, str]:
    """Names and versions of all packages of this Python."""
    return {canonicalize_name(d.name): d.version for d in distributions()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
