"""A box to run an image in, of what Linux gives to everybody where it does: the root read-only, no shell, another user.

namespaces of users and of mounts ─▶ the root bound anew, read-only, with the folders to write to ─▶ pivot_root
─▶ another namespace of users, in which we are 65532 and may do nothing
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

_SHELLS = ("sh", "bash", "dash", "busybox")
_SCRIPT = f"""
set -e
root=$1; shift
mount --rbind / "$root"
mount -o remount,bind,ro "$root"
while [ "$1" != -- ]; do mount --bind "$1" "$root$1"; shift; done; shift
for shell in {" ".join(_SHELLS)}; do
    for folder in /bin /usr/bin; do [ ! -e "$folder/$shell" ] || mount --bind /dev/null "$root$folder/$shell"; done
done
cd "$root"
pivot_root . ".$root"
umount -l "$root"
exec unshare --user --map-user=65532 --map-group=65532 --wd="$1" -- "$@"
"""


def boxed(empty: Path, writable: Sequence[Path], folder: Path, command: Sequence[str | Path]) -> list[str]:
    """`command`, run in such a box in `folder`; it is the process that is started, and gets its signals.

    `empty`: a folder to hang the new root from. `writable`: the only folders that can be written to.
    """
    # The script's own shell is the old root's; `$1` of the last line is the folder.
    inner = _SCRIPT.replace('--wd="$1" -- "$@"', f'--wd="{folder}" -- "$@"')
    outer = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inner, "box")
    return [*outer, *map(str, (empty, *writable)), "--", *map(str, command)]


def refusal(empty: Path) -> str:
    """Why there are no boxes on this machine; empty where there are."""
    try:
        done = subprocess.run(
            boxed(empty, (), Path("/"), ["/usr/bin/env", "true"]), capture_output=True, text=True, check=False
        )
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"
