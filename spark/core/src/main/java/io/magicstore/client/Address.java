/* Address.java -- where a magicd listens.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import java.io.Serializable;
import java.net.URI;

/** Host and port out of "grpc://HOST:PORT" (grpc+tcp:// is the same). TLS is not in this version. */
public record Address(String host, int port) implements Serializable {
  public static final int DEFAULT_PORT = 8815;

  public static Address parse(String text) {
    URI uri = URI.create(text.contains("://") ? text : "grpc://" + text);
    String scheme = uri.getScheme();

    if (!scheme.equals("grpc") && !scheme.equals("grpc+tcp")) {
      throw new IllegalArgumentException(
          "address " + text + ": scheme " + scheme + " is not supported; write grpc://HOST:PORT");
    }
    if (uri.getHost() == null) {
      throw new IllegalArgumentException("address " + text + " has no host; write grpc://HOST:PORT");
    }
    return new Address(uri.getHost(), uri.getPort() < 0 ? DEFAULT_PORT : uri.getPort());
  }

  /** Says nothing about which machine it is when it is this one's loopback. */
  public boolean isLoopback() {
    return host.equals("localhost") || host.equals("[::1]") || host.startsWith("127.");
  }

  @Override
  public String toString() {
    return "grpc://" + host + ":" + port;
  }
}
