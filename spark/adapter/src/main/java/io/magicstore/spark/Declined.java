/* Declined.java -- why something stays with Spark.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.spark;

/** Its message is for EXPLAIN. */
final class Declined extends Exception {
  private static final long serialVersionUID = 1;

  Declined(String reason) {
    super(reason, null, false, false);
  }
}
