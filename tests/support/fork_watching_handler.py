"""handler.py, which says at each fork which threads of native code its process has."""

import os
import runpy
import sys
import threading
from pathlib import Path


def native_threads() -> list[str]:
    """The names of threads that Python has not started, such as OpenMP's."""
    known = {thread.native_id for thread in threading.enumerate()}
    tasks = [task for task in Path("/proc/self/task").iterdir() if int(task.name) not in known]
    return sorted((task / "comm").read_text().strip() for task in tasks)


def main() -> None:
    os.register_at_fork(before=lambda: sys.stderr.write(f"forked beside {native_threads()}\n"))
    runpy.run_path("handler.py", run_name="__main__")


if __name__ == "__main__":
    main()
