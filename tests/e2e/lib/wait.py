"""Waiting for something to become true, never longer than said.

SPDX-License-Identifier: Apache-2.0
"""

import time


class Timeout(Exception):
    """What was waited for did not happen in time."""


def until(condition, seconds, what, step=0.05):
    """The first true answer of condition(); Timeout says what was missing, and condition's last answer."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= end:
            raise Timeout(f"{what}: not within {seconds} s (last answer: {answer!r})")
        time.sleep(step)
