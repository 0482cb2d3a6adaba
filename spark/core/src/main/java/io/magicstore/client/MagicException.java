/* MagicException.java -- a failure that the store told, or that happened on the way to it.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import org.apache.arrow.flight.CallStatus;
import org.apache.arrow.flight.ErrorFlightMetadata;
import org.apache.arrow.flight.FlightRuntimeException;

/** The message begins with the code, so that it can be found in a stack trace and on the console. */
public final class MagicException extends RuntimeException {
  /** Ends every text that says that a snapshot is gone. */
  static final String READ_ANEW = "Run the statement again, or build the DataFrame anew: it then reads a newer snapshot";

  private static final long serialVersionUID = 1;

  private final Code code;
  private final String detail;

  public MagicException(Code code, String message) {
    this(code, message, null);
  }

  public MagicException(Code code, String message, Throwable cause) {
    super(code + ": " + message, cause);
    this.code = code;
    this.detail = message;
  }

  /** The same failure once more, with the stack of who meets it now. */
  public MagicException again() {
    return new MagicException(code, detail, this);
  }

  /** The same failure with a word on what to do about it, where there is one. */
  public MagicException withHint() {
    return code == Code.SNAPSHOT_EXPIRED || code == Code.SNAPSHOT_TOO_OLD
        ? new MagicException(code, detail + ". " + READ_ANEW, this)
        : this;
  }

  public Code code() {
    return code;
  }

  /** The trailer "magic-code" decides; a peer that did not answer sends none, then the gRPC status does. */
  static MagicException of(String what, FlightRuntimeException failure) {
    CallStatus status = failure.status();
    ErrorFlightMetadata trailers = status.metadata();
    Code code = trailers == null || !trailers.containsKey("magic-code") ? null : Code.of(trailers.get("magic-code"));
    String text = status.description() == null ? status.code().name() : status.description();

    return new MagicException(code == null ? ofStatus(status) : code, what + ": " + text, failure);
  }

  private static Code ofStatus(CallStatus status) {
    return switch (status.code()) {
      case UNAVAILABLE -> Code.UNAVAILABLE;
      case INVALID_ARGUMENT -> Code.INVALID;
      case NOT_FOUND -> Code.NOT_FOUND;
      case ALREADY_EXISTS -> Code.EXISTS;
      case CANCELLED -> Code.CANCELLED;
      case TIMED_OUT -> Code.TIMEOUT;
      case UNIMPLEMENTED -> Code.UNIMPLEMENTED;
      case UNAUTHENTICATED -> Code.UNAUTHENTICATED;
      case UNAUTHORIZED -> Code.DENIED;
      case RESOURCE_EXHAUSTED -> Code.BUSY;
      default -> Code.INTERNAL;
    };
  }
}
