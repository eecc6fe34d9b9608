"""A cheap part of the campaign of ``fuzz/``: every mutant ends with a result or one clear error."""

import pytest
from fuzz.campaign import campaign, contained
from fuzz.folders import look_for_losses
from fuzz.sidecars import campaign as sidecars
from fuzz.targets import TARGETS


@pytest.mark.parametrize(
    ("count", "targets"), [(2000, ["inspect"]), (40, list(TARGETS))], ids=["inspect", "all"]
)
def test_mutants_end_well(count: int, targets: list[str]) -> None:
    tally = campaign(count, 0, targets)
    assert not tally.failures
    assert not [wrong for i in tally.crashes if (wrong := contained(i, 0, targets[-1]))]
    assert sum(n for (target, _), n in tally.ends.items() if target == "inspect") == count
    assert tally.ends[targets[-1], "result"] > count // 20


def test_nothing_of_the_users_is_lost_in_folders() -> None:
    found = look_for_losses(60, 0)
    assert not found.wrong
    assert sum(found.ends.values()) == 60
    assert {end.partition(": ")[2] for end in found.ends} == {"result", "refused"}


def test_hostile_files_beside_a_model_end_in_a_result_or_one_error() -> None:
    ends, failures = sidecars(2000, seed=19)
    assert not failures
    assert ends["result"] > 100
    assert ends["OptionError"] > 100
