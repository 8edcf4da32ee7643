"""Files that are overwritten where they lie hold the new text or the old one."""

import os
import resource

import pytest

from kindling.files.whole_file import overwrite


@pytest.mark.parametrize(("limit", "expected"), [(4096, b"o" * 8000), (9000, b"new".ljust(8000))])
def test_a_limit_of_the_size_of_files_leaves_the_old_text(tmp_path, limit, expected):
    file = tmp_path / "run.json"
    file.write_bytes(b"o" * 8000)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            overwrite(file, b"new")
        except OSError:
            code = 27
        finally:
            os._exit(code if limit == 4096 else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (27 if limit == 4096 else 0)
    assert file.read_bytes() == expected
