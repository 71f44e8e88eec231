"""Commands of the worker as processes with an environment of their own."""

import subprocess
import sys

from tests.support.worker_process import ROOT

TOKEN = "hf_planted-secret"


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "MODEL_NAME": "org/model", "HF_TOKEN": TOKEN} | environ
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
