"""The last way to end a worker, when an exception that should have ended it was lost."""

import subprocess
import sys
from pathlib import Path

from tests.support.waiting import eventually

SCRIPT = """
import subprocess, sys
from multiprocessing.shared_memory import SharedMemory
from vllm_worker.startup import signals
memory = SharedMemory(create=True, size=8)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(memory.name, child.pid, flush=True)
signals._end_at_once()
"""


def test_no_process_and_no_shared_memory_is_left() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, check=True)
    name, child = ended.stdout.decode().split()
    eventually(lambda: not Path("/dev/shm", name).exists())
    eventually(lambda: not Path("/proc", child).exists())
