"""Runs the GPU image's command where no GPU is: `… start_without_gpu FOLDER COMMAND…`."""

import subprocess
import sys

from tests.image.ask import in_container

_START_S = 600
_REASON = "No GPU can be used"


def main(folder: str, command: list[str]) -> None:
    words = in_container(folder, command, {"MODEL_NAME": "demo", "ALLOW_NO_KEY": "1"})
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_START_S
    )
    print(done.stdout, end="")
    assert done.returncode == 1, done.returncode
    assert _REASON in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
