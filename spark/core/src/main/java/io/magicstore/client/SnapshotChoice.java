/* SnapshotChoice.java -- how people write which snapshot they want.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import io.magicstore.proto.SnapshotRef;
import java.time.Instant;
import java.time.format.DateTimeParseException;

/**
 * "latest", "epoch:42", "wait:TS" (the newest, but not before commit_ts TS is visible), a commit_ts, or an instant such as
 * "2026-11-21T10:15:00Z". The last two mean the last snapshot at or before.
 */
public final class SnapshotChoice {
  private SnapshotChoice() {}

  public static SnapshotRef parse(String text, long waitMs) {
    String wish = text.trim();

    try {
      if (wish.isEmpty() || wish.equalsIgnoreCase("latest")) {
        return SnapshotRef.getDefaultInstance();
      }
      if (wish.startsWith("epoch:")) {
        return SnapshotRef.newBuilder().setEpoch(Long.parseUnsignedLong(wish.substring(6).trim())).build();
      }
      if (wish.startsWith("wait:")) {
        return SnapshotRef.newBuilder()
            .setWaitTs(Long.parseUnsignedLong(wish.substring(5).trim()))
            .setWaitMs(Math.toIntExact(waitMs))
            .build();
      }
      if (Character.isDigit(wish.charAt(0)) && wish.chars().allMatch(Character::isDigit)) {
        return SnapshotRef.newBuilder().setAsOfTs(Long.parseUnsignedLong(wish)).build();
      }
      Instant instant = Instant.parse(wish);
      return at(Math.addExact(Math.multiplyExact(instant.getEpochSecond(), 1_000_000L), instant.getNano() / 1000));
    } catch (NumberFormatException | DateTimeParseException failure) {
      throw new IllegalArgumentException(
          "snapshot '" + text + "' is not understood: write latest, epoch:N, wait:COMMIT_TS, a commit_ts, or an instant"
              + " such as 2026-11-21T10:15:00Z",
          failure);
    }
  }

  /** The last snapshot at or before a moment, in microseconds since 1970. */
  public static SnapshotRef at(long epochMicros) {
    return SnapshotRef.newBuilder().setAsOfTs(SnapshotLease.tsoAt(epochMicros)).build();
  }
}
