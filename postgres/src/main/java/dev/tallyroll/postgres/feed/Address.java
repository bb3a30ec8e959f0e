package dev.tallyroll.postgres.feed;

import dev.tallyroll.session.Sql;
import java.util.List;
import java.util.stream.Collectors;

/**
 * Where a row is stored.
 *
 * @param table the table, qualified
 * @param ctid its address there
 */
record Address(String table, String ctid) {
  /** That a row is stored in a table. */
  static String isOf(String table) {
    return "tableoid = " + Sql.literal(table) + "::regclass";
  }

  /** That a row is one of these, of one table. */
  static String where(List<Address> batch) {
    return batch.stream()
        .map(address -> "\"" + address.ctid() + "\"")
        .collect(Collectors.joining(",", "ctid = any ('{", "}'::tid[])"));
  }
}
