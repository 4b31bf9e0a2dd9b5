"""What every test shares: how hypothesis searches, what the garbage collector looks through, and what Ctrl-C does."""

from __future__ import annotations

import gc
import os
import signal

from hypothesis import HealthCheck, settings

# The suite looks for the same examples in each run, so that a red run means a changed program and not another seed.
# HYPOTHESIS_PROFILE=search draws new ones, and many more of them.
settings.register_profile(
    "suite", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# A shell ignores Ctrl-C for what it runs in the background, and so would the programs that are tested by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Set aside what lives as long as the run: some thousand tests and all modules, which each collection would search."""
    gc.collect()
    gc.freeze()
