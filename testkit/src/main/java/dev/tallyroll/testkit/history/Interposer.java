package dev.tallyroll.testkit.history;

import java.io.PrintWriter;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.logging.Logger;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * A data source that calls back before everything that its connections send to the server, so that
 * one thread can interleave others' work with the engine's, statement by statement, the same way
 * each time.
 */
final class Interposer implements DataSource {
  /** Is called before a statement, a commit or a copy. */
  @FunctionalInterface
  interface Hook {
    /**
     * Does something else first, or breaks the connection.
     *
     * @param connection the engine's connection, itself
     * @param what the statement, or {@code commit}, or {@code copy}
     */
    void before(Connection connection, String what) throws SQLException;
  }

  private final DataSource source;
  private final Hook hook;

  Interposer(DataSource source, Hook hook) {
    this.source = source;
    this.hook = hook;
  }

  @Override
  public Connection getConnection() throws SQLException {
    return wrap(source.getConnection());
  }

  @Override
  public Connection getConnection(String user, String password) throws SQLException {
    return wrap(source.getConnection(user, password));
  }

  private Connection wrap(Connection connection) {
    return proxy(
        Connection.class,
        (proxy, method, arguments) -> {
          String name = method.getName();
          if (name.equals("commit") || name.equals("unwrap")) {
            hook.before(connection, name.equals("unwrap") ? "copy" : name);
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
