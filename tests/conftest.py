"""What all tests share."""

from hypothesis import settings

# The same examples in every run, and no verdict by the clock.
settings.register_profile("sprat", deadline=None, derandomize=True)
settings.load_profile("sprat")
