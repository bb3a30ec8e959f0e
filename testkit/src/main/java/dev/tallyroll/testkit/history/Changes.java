package dev.tallyroll.testkit.history;

import dev.tallyroll.session.Sql;
import java.io.IOException;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.postgresql.PGConnection;

/** Random statements of an application over the table {@code events}. For one thread. */
final class Changes {
  /** The table's columns, but for those that an engine adds. */
  static final String COLUMNS =
      "id, tenant_id, ts, project, status, user_id, tokens, cost, duration_ms, msg";

  /** Rows lie at most so far ahead, in s: under a day also by a clock that runs an hour behind. */
  private static final int AHEAD_S = 80_000;

  private final Random random;
  private final boolean hasKey;
  private final boolean isAppended;

  /** Whether the table's times are those of UTC without saying so. */
  private final boolean isLocal;

  private long id;
  private Instant now;

  /** Keys come in bursts of one tenant and then silence: hot keys would hide a lost update. */
  private int tenant;

  /** What is older lies behind a seal, and is not changed. */
  private Instant sealed = Instant.EPOCH;

  Changes(Random random, Instant now, boolean hasKey, boolean isAppended, boolean isLocal) {
    this.random = random;
    this.now = now;
    this.hasKey = hasKey;
    this.isAppended = isAppended;
    this.isLocal = isLocal;
  }

  /** SQL with its times of the type of the table's. */
  String typed(String sql) {
    return isLocal ? sql.replaceAll("\\btimestamptz\\b", "timestamp") : sql;
  }

  /** Runs a statement of {@link #next}. */
  static void run(Connection connection, String sql) throws SQLException {
    if (!sql.startsWith("copy")) {
      Sql.run(connection, sql);
      return;
    }
    int end = sql.indexOf('\n');
    try {
      connection
          .unwrap(PGConnection.class)
          .getCopyAPI()
          .copyIn(sql.substring(0, end), new StringReader(sql.substring(end + 1)));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  Instant sealed() {
    return sealed;
  }

  void seal(Instant before) {
    sealed = before;
  }

  void setClock(Instant instant) {
    now = instant;
  }

  /** A statement that changes rows; of COPY with its rows in the lines after the first. */
  String next() {
    return typed(any());
  }

  private String any() {
    if (random.nextInt(6) == 0) {
      tenant = random.nextInt(3);
    }
    if (isAppended) {
      int rows = 1 + random.nextInt(random.nextInt(20) + 1);
      return random.nextInt(3) == 0 ? copy(rows) : insert(rows);
    }
    return switch (random.nextInt(hasKey ? 14 : 12)) {
      case 0, 1, 2 -> insert(1);
      case 3 -> insert(2 + random.nextInt(20));
      case 4 -> copy(1 + random.nextInt(20));
      case 5 -> "update events set tokens = " + tokens() + " where " + some();
      case 6 -> "update events set cost = " + cost() + ", msg = " + msg() + " where " + some();
      case 7 ->
          "update events set project = "
              + project()
              + (random.nextBoolean() ? ", tenant_id = 't" + random.nextInt(3) + "'" : "")
              + " where "
              + some();
      case 8 ->
          "update events set ts = "
              + (random.nextInt(4) == 0
                  ? "greatest('" + time() + "', '" + sealed + "'::timestamptz)"
                  // What is more than a day ahead of the clock is not counted.
                  : "greatest(least(ts + interval '"
                      + (random.nextInt(400) - 200)
                      + " minutes', '"
                      + now.plusSeconds(AHEAD_S)
                      + "'::timestamptz), '"
                      + sealed
                      + "'::timestamptz)")
              + " where ts < '2900-01-01' and "
              + some();
      case 9 ->
          "update events set duration_ms = "
              + duration()
              + ", status = "
              + status()
              + ", user_id = "
              + user()
              + " where "
              + some();
      case 10 -> "delete from events where " + some();
      case 11 ->
          "merge into events e using (select * from events where "
              + some()
              + ") s on e.id = s.id and e.ts = s.ts when matched and s.id % 2 = 0 then delete"
              + " when matched then update set tokens = "
              + tokens();
      default ->
          insert(1 + random.nextInt(3))
                  .replace("(" + id + ",", "(" + Math.max(1, id - random.nextInt(30)) + ",")
              + " on conflict (id) do update set tokens = excluded.tokens, cost = excluded.cost, ts = greatest(excluded.ts, '"
              + sealed
              + "'::timestamptz) where events.ts >= '"
              + sealed
              + "'";
    };
  }

  /** Inserts rows. */
  String insert(int rows) {
    return "insert into events ("
        + COLUMNS
        + ") values "
        + IntStream.range(0, rows)
            .mapToObj(i -> "(" + String.join(", ", row()) + ")")
            .collect(Collectors.joining(", "));
  }

  /** The same by COPY. */
  private String copy(int rows) {
    return "copy events ("
        + COLUMNS
        + ") from stdin\n"
        + IntStream.range(0, rows)
            .mapToObj(i ->
                row().stream()
                    .map(value -> value.equals("null") ? "\\N" : value.replace("'", ""))
                    .collect(Collectors.joining("\t")))
            .collect(Collectors.joining("\n"));
  }

  /** The values of a new row, as literals. */
  private List<String> row() {
    return List.of(
        Long.toString(++id),
        "'t" + tenant + "'",
        "'" + time() + "'",
        project(),
        status(),
        user(),
        tokens(),
        cost(),
        duration(),
        msg());
  }

  private String some() {
    return "ts >= '" + sealed + "' and " + which();
  }

  private String which() {
    return switch (random.nextInt(5)) {
      case 0 -> "id = " + (1 + random.nextLong(Math.max(1, id)));
      case 1 -> "id % " + (2 + random.nextInt(9)) + " = 0";
      case 2 -> "tenant_id = 't" + tenant + "' and id > " + (id - random.nextInt(20));
      case 3 -> "tokens = " + random.nextInt(10);
      default ->
          "ts > '" + now.minus(random.nextInt(300), ChronoUnit.MINUTES) + "' and ts < '2900-01-01'";
    };
  }

  private String time() {
    return switch (random.nextInt(40)) {
      case 0 -> "2999-01-01T00:00:00Z";
      case 1 -> "infinity";
      case 2, 3, 4 -> now.minusSeconds(random.nextInt(12 * 86_400)).toString();
      case 5 -> now.plusSeconds(random.nextInt(AHEAD_S)).toString();
      default -> now.minusSeconds(random.nextInt(14_400)).toString();
    };
  }

  private String project() {
    int project = random.nextInt(4);
    return project == 0 ? "null" : "'p" + project + "'";
  }

  private String status() {
    return random.nextInt(3) == 0 ? "'error'" : random.nextInt(8) == 0 ? "null" : "'ok'";
  }

  private String user() {
    return random.nextInt(8) == 0 ? "null" : "'u" + random.nextInt(6) + "'";
  }

  /** Seven is poison. */
  private String tokens() {
    int tokens = random.nextInt(60);
    return tokens < 5 ? "null" : tokens == 5 ? "7" : Integer.toString(tokens % 7);
  }

  private String cost() {
    return random.nextInt(6) == 0
        ? "null"
        : random.nextInt(20) == 0
            ? "'NaN'"
            : (random.nextInt(9) - 4) + "." + random.nextInt(3) + (random.nextBoolean() ? "0" : "");
  }

  private String duration() {
    return random.nextInt(6) == 0 ? "null" : Double.toString(random.nextInt(40) / 4.0 - 2);
  }

  private String msg() {
    return random.nextInt(6) == 0 ? "null" : "'m" + random.nextInt(30) + "'";
  }
}
