"""Ctrl-C on a terminal ends every command at any moment, and nothing stays behind."""

from __future__ import annotations

import pytest
from fuzz.interrupts import JOBS, Ground, interrupt, interrupt_in_time, moments, prepare


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return prepare(tmp_path_factory.mktemp("interrupts"))


def test_all_commands_are_interrupted() -> None:
    from sprat.cli.app import app

    assert {command.name for command in app.registered_commands} == set(JOBS)


@pytest.mark.parametrize(("name", "moment"), moments(20, seed=1, names=list(JOBS)))
def test_ctrl_c_ends_a_command_and_leaves_nothing(ground: Ground, name: str, moment: float) -> None:
    assert interrupt_in_time(ground, name, moment).wrong == ()


def test_a_second_ctrl_c_ends_it_at_once(ground: Ground) -> None:
    assert interrupt(ground, "optimize", 2.0, twice=True).wrong == ()
