"""A few of the kills of ``fuzz/kills.py``: the same command goes on to the same bytes."""

import pytest
from fuzz.kills import JOBS, kill_often


@pytest.mark.parametrize(("name", "kills"), [("point", 1), ("bundle", 2)])
def test_a_killed_command_goes_on_to_the_same_bytes(name: str, kills: int) -> None:
    found = kill_often(JOBS[name], kills=kills, each=2, seed=1)
    assert not found.wrong
    assert found.kills == kills
