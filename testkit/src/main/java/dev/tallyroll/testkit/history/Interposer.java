package dev.tallyroll.testkit.history;

import dev.tallyroll.session.Sql;
import java.io.PrintWriter;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Deque;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.logging.Logger;
import java.util.regex.Pattern;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * A data source that calls back before everything that its connections send to the server, so that
 * one thread can interleave others' work with the engine's, statement by statement, the same way
 * each time. It also shortens the time that the engine waits for locks: nobody gives one up while
 * the only thread waits.
 */
final class Interposer implements DataSource {
  /** Is called before a statement, a commit or a copy. */
  @FunctionalInterface
  interface Hook {
    /**
     * Does something else first, or breaks the connection.
     *
     * @param connection the engine's connection, itself
     * @param what the statement, or {@code commit}, {@code rollback}, {@code close}, or {@code
     *     copy}
     */
    void before(Connection connection, String what) throws SQLException;
  }

  /** How long the engine waits for a lock, in milliseconds. */
  static final int PATIENCE = 60;

  private static final Set<String> CALLS = Set.of("commit", "rollback", "close", "unwrap");
  private static final Pattern WAITS = Pattern.compile("lock_timeout = '\\d+m?s'");

  private final DataSource source;
  private final Deque<Connection> idle;
  private final Hook hook;

  /**
   * A data source.
   *
   * @param source opens connections
   * @param idle connections that were closed and serve again as new ones: a new backend takes ten
   *     times as long for its first statements
   * @param hook what is called
   */
  Interposer(DataSource source, Deque<Connection> idle, Hook hook) {
    this.source = source;
    this.idle = idle;
    this.hook = hook;
  }

  @Override
  public Connection getConnection() throws SQLException {
    while (!idle.isEmpty()) {
      Connection connection = idle.pop();
      if (connection.isValid(5)) {
        return wrap(connection);
      }
      connection.abort(Runnable::run);
    }
    return wrap(source.getConnection());
  }

  /** What a closed connection held is gone, and nobody sees that its backend is still there. */
  private void release(Connection connection) throws SQLException {
    if (connection.isClosed()) {
      return;
    }
    try {
      if (!connection.getAutoCommit()) {
        connection.rollback();
        connection.setAutoCommit(true);
      }
      Sql.run(connection, "discard all");
      idle.push(connection);
    } catch (SQLException e) {
      // It was terminated meanwhile.
      connection.abort(Runnable::run);
    }
  }

  @Override
  public Connection getConnection(String user, String password) throws SQLException {
    return wrap(source.getConnection(user, password));
  }

  private Connection wrap(Connection connection) {
    AtomicBoolean isClosed = new AtomicBoolean();
    return proxy(
        Connection.class,
        (proxy, method, arguments) -> {
          String name = method.getName();
          if (isClosed.get()) {
            return switch (name) {
              case "close" -> null;
              case "isClosed" -> true;
              default -> throw new SQLException("this connection is closed", "08003");
            };
          }
          if (CALLS.contains(name)) {
            hook.before(connection, name.equals("unwrap") ? "copy" : name);
          }
          if (name.equals("close")) {
            isClosed.set(true);
            release(connection);
            return null;
          }
          Object result = invoke(connection, method, arguments);
          return switch (result) {
            case PreparedStatement statement ->
                wrap(connection, PreparedStatement.class, statement, String.valueOf(arguments[0]));
            case Statement statement -> wrap(connection, Statement.class, statement, "");
            case null, default -> result;
          };
        });
  }

  private <S extends Statement> S wrap(
      Connection connection, Class<S> type, S statement, String prepared) {
    return proxy(
        type,
        (proxy, method, arguments) -> {
          if (method.getName().startsWith("execute")) {
            if (arguments != null && arguments.length > 0 && arguments[0] instanceof String sql) {
              arguments[0] = WAITS.matcher(sql).replaceAll("lock_timeout = '" + PATIENCE + "ms'");
            }
            hook.before(
                connection,
                arguments == null || arguments.length == 0
                    ? prepared
                    : String.valueOf(arguments[0]));
          }
          return invoke(statement, method, arguments);
        });
  }

  private static <T> T proxy(Class<T> type, InvocationHandler handler) {
    return type.cast(
        Proxy.newProxyInstance(Interposer.class.getClassLoader(), new Class<?>[] {type}, handler));
  }

  private static @Nullable Object invoke(
      Object target, java.lang.reflect.Method method, @Nullable Object @Nullable [] arguments)
      throws Throwable {
    try {
      return method.invoke(target, arguments);
    } catch (InvocationTargetException e) {
      throw e.getCause() == null ? e : e.getCause();
    }
  }

  @Override
  public PrintWriter getLogWriter() throws SQLException {
    return source.getLogWriter();
  }

  @Override
  public void setLogWriter(PrintWriter out) throws SQLException {
    source.setLogWriter(out);
  }

  @Override
  public void setLoginTimeout(int seconds) throws SQLException {
    source.setLoginTimeout(seconds);
  }

  @Override
  public int getLoginTimeout() throws SQLException {
    return source.getLoginTimeout();
  }

  @Override
  public Logger getParentLogger() {
    return Logger.getGlobal();
  }

  @Override
  public <T> T unwrap(Class<T> type) throws SQLException {
    return source.unwrap(type);
  }

  @Override
  public boolean isWrapperFor(Class<?> type) throws SQLException {
    return source.isWrapperFor(type);
  }
}
