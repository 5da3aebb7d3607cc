"""Programs that have packages of their own, as .venv/checkers has them. Here: running one."""

import os
import subprocess
import sys
from pathlib import Path

from tests.services import PROJECT

CHECKERS = PROJECT / ".venv" / "checkers"


def run_checker(module: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one of the programs that have packages of their own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(CHECKERS), str(PROJECT)))}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
