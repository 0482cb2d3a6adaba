/* ExprsTest.java -- shapes of predicate trees.
 * SPDX-License-Identifier: Apache-2.0 */
package io.magicstore.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import io.magicstore.proto.Call;
import io.magicstore.proto.Expr;
import java.math.BigInteger;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

class ExprsTest {
  private static Expr isNull(String name) {
    return Exprs.call(Call.Op.IS_NULL, Exprs.column(name));
  }

  @Test
  void longChainsStayFlat() {
    Expr chain = isNull("c0");
    for (int i = 1; i < 5000; i++) {
      chain = Exprs.connect(Call.Op.OR, chain, isNull("c" + i));
    }
    assertEquals(5000, chain.getCall().getArgsCount());
    assertEquals(3, Exprs.depth(chain));
  }

  @Test
  void anAndInsideAnOrKeepsItsLevel() {
    Expr both = Exprs.connect(Call.Op.AND, isNull("a"), isNull("b"));
    Expr either = Exprs.connect(Call.Op.OR, both, isNull("c"));
    assertEquals(2, either.getCall().getArgsCount());
    assertEquals(Call.Op.AND, either.getCall().getArgs(0).getCall().getOp());
  }

  @Test
  void decimalsAreLittleEndianTwosComplement() {
    assertArrayEquals(new byte[] {(byte) 0x2e, (byte) 0xfb}, Exprs.decimal(BigInteger.valueOf(-1234), 6, 2).getUnscaled().toByteArray());
    assertArrayEquals(new byte[] {(byte) 0x80, 0}, Exprs.decimal(BigInteger.valueOf(128), 6, 2).getUnscaled().toByteArray());
    assertEquals(16, Exprs.decimal(BigInteger.TEN.pow(38).subtract(BigInteger.ONE), 38, 0).getUnscaled().size());
  }

  @Test
  void columnsAreListedAndRenamed() {
    Expr both = Exprs.connect(Call.Op.AND, isNull("b"), Exprs.call(Call.Op.NOT, isNull("a")));
    TreeSet<String> names = new TreeSet<>();
    Exprs.columns(both, names);
    assertEquals(List.of("a", "b"), List.copyOf(names));
    names.clear();
    Exprs.columns(Exprs.rename(both, Map.of("a", "x", "b", "b")), names);
    assertEquals(List.of("b", "x"), List.copyOf(names));
  }

  @Test
  void noConjunctIsNoPredicate() {
    assertNull(Exprs.all(List.of()));
    assertEquals(isNull("a"), Exprs.all(List.of(isNull("a"))));
  }
}
