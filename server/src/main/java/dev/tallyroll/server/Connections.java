package dev.tallyroll.server;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import dev.tallyroll.session.Database;
import io.micrometer.core.instrument.MeterRegistry;
import javax.sql.DataSource;

/** A pool of connections as one role. Must be closed. */
final class Connections implements AutoCloseable {
  private static final long WAIT_MS = 5_000;

  private final HikariDataSource pool;
  private final Database database;

  /**
   * A pool, which connects when it is first asked.
   *
   * @param name its name in metrics
   * @param most how many connections
   */
  Connections(DataSource source, String name, int most, MeterRegistry registry) {
    HikariConfig config = new HikariConfig();
    config.setDataSource(source);
    config.setPoolName(name);
    config.setMaximumPoolSize(most);
    config.setMinimumIdle(Math.min(2, most));
    config.setConnectionTimeout(WAIT_MS);
    config.setInitializationFailTimeout(-1);
    config.setMetricRegistry(registry);
    this.pool = new HikariDataSource(config);
    this.database = Database.ofOwnPool(pool, "serve");
  }

  /** The pool, whose connections are set up once: for work that leaves no settings behind. */
  Database database() {
    return database;
  }

  /** The same, whose connections are set up each time: for all that an installer does. */
  Database settingUp() {
    return new Database(pool);
  }

  @Override
  public void close() {
    pool.close();
  }
}
