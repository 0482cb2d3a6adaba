"""Rows of TiDB and rows of Spark as values that can be compared.

SPDX-License-Identifier: Apache-2.0
"""

import struct
from collections import Counter


def _plain(value, kind):
    if value is None:
        return None
    if kind == "f32":
        return struct.pack("<f", value)
    if kind == "f64":
        return struct.pack("<d", value)
    return value


def differences(expected, got, kinds=None, shown=5):
    """Text that tells how two bags of rows differ; "" when they are equal. kinds: per column "f32", "f64" or None."""

    def canonical(rows):
        return Counter(
            tuple(_plain(value, kinds[place] if kinds else None) for place, value in enumerate(row)) for row in rows
        )

    expected, got = canonical(expected), canonical(got)
    if expected == got:
        return ""
    missing, extra = expected - got, got - expected
    text = [f"{sum(expected.values())} rows expected, {sum(got.values())} got"]
    text += [f"missing: {row}" for row in list(missing)[:shown]]
    text += [f"extra:   {row}" for row in list(extra)[:shown]]
    return "\n".join(text)
