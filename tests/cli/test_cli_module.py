import subprocess
import sys


def test_the_module_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "ki67", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ki67 ")
