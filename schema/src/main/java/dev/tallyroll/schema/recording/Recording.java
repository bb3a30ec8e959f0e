package dev.tallyroll.schema.recording;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.sql.DataSource;
import net.ttddyy.dsproxy.ExecutionInfo;
import net.ttddyy.dsproxy.QueryInfo;
import net.ttddyy.dsproxy.support.ProxyDataSourceBuilder;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.json.JsonMapper;

/**
 * Writes each different statement that goes through a data source to a file, for {@code tallyroll
 * schema check --statements FILE.jsonl}: an ORM builds its SQL at run time, and no source has it.
 *
 * <pre>{@code
 * try (Recording recording = Recording.to(Path.of("target/statements.jsonl"))) {
 *   DataSource recorded = recording.of(dataSource);
 *   // run the tests of the application on it
 * }
 * }</pre>
 *
 * <p>The file has one JSON object a line: {@code sql}, and for a statement that failed {@code
 * state} (its SQLSTATE). Values that are bound are never written, nor messages, which hold some;
 * literals within the SQL are. Meant for tests, not for production. Thread-safe.
 */
public final class Recording implements AutoCloseable {
  private static final JsonMapper JSON = JsonMapper.builder().build();

  private final Writer file;
  private final Set<String> written = new HashSet<>();

  private Recording(Writer file) {
    this.file = file;
  }

  /**
   * Begins a file, which is overwritten.
   *
   * @throws UncheckedIOException if it cannot be written
   */
  public static Recording to(Path path) {
    try {
      Path folder = path.toAbsolutePath().getParent();
      if (folder != null) {
        Files.createDirectories(folder);
      }
      return new Recording(Files.newBufferedWriter(path));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A data source that does what the given one does, and records it. */
  public DataSource of(DataSource source) {
    return ProxyDataSourceBuilder.create(source).afterQuery(this::executed).build();
  }

  private void executed(ExecutionInfo execution, List<QueryInfo> queries) {
    for (QueryInfo query : queries) {
      Throwable fault = execution.getThrowable();
      write(query.getQuery(), fault instanceof SQLException failed ? failed : null);
    }
  }

  private synchronized void write(String sql, @Nullable SQLException failed) {
    Map<String, String> entry = new LinkedHashMap<>();
    entry.put("sql", sql);
    if (failed != null) {
      entry.put("state", String.valueOf(failed.getSQLState()));
    }
    if (!written.add(sql + entry.get("state"))) {
      return;
    }
    try {
      file.write(JSON.writeValueAsString(entry));
      file.write('\n');
      file.flush();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Ends the file. */
  @Override
  public synchronized void close() {
    try {
      file.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
