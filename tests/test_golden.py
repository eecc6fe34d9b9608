"""The example's bytes change only where somebody means it."""

import json

from tests.golden import FILE, golden


def test_what_is_made_of_the_example_is_as_it_was() -> None:
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    found = golden()
    changed = [name for name in found | kept if found.get(name) != kept.get(name)]
    assert not changed, (
        f"other than before: {'; '.join(changed)}. If that is meant, say so in changes and "
        "run 'python -m tests.golden'."
    )
