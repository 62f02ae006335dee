"""A box to run an image in, of what Linux gives to everybody where it does: the root read-only, no shell, another user.

namespaces of users and of mounts ─▶ the root bound anew, read-only, with the folders to write to ─▶ pivot_root
─▶ another namespace of users, in which we are 65532 and may do nothing
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

_SHELLS = ("sh", "bash", "dash", "busybox")
# A mount keeps its other options: those of a parent's namespace cannot be taken away (mount_namespaces(7)).
_SCRIPT = f"""
set -e
read_only() {{
    options=$(findmnt --noheadings --output VFS-OPTIONS --target "$1" | tail -n 1 | sed 's/^rw/ro/')
    mount -o "remount,bind,$options" "$1"
}}
empty=$1 image=$2 folder=$3; shift 3
mount --rbind / "$empty"
read_only "$empty"
mount --bind "$image" "$empty$image"  # it may be on another file system than the root is
read_only "$empty$image"
while [ "$1" != -- ]; do mount --bind "$1" "$empty$1"; shift; done; shift
for shell in {" ".join(_SHELLS)}; do
    for place in /bin /usr/bin; do [ ! -e "$place/$shell" ] || mount --bind /dev/null "$empty$place/$shell"; done
done
cd "$empty"
pivot_root . ".$empty"
umount -l "$empty"
exec unshare --user --map-user=65532 --map-group=65532 --wd="$folder" -- "$@"
"""


def boxed(empty: Path, image: Path, folder: Path, writable: Sequence[Path], command: Sequence[str | Path]) -> list[str]:
    """`command`, run in such a box in `folder`; it is the process that is started, and gets its signals.

    `empty`: a folder to hang the new root from. `image`: whose files it runs. `writable`: the folders to write to.
    """
    outer = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _SCRIPT, "box")
    return [*outer, *map(str, (empty, image, folder, *writable)), "--", *map(str, command)]


def refusal(empty: Path, image: Path) -> str:
    """Why there are no boxes on this machine; empty where there are."""
    try:
        done = subprocess.run(
            boxed(empty, image, image, (), ["/usr/bin/env", "true"]), capture_output=True, text=True, check=False
        )
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"
