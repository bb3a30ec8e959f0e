package dev.tallyroll.schema.recording;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.testkit.TestDatabase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RecordingTest {
  @TempDir private Path folder = Path.of("");

  private final TestDatabase database = TestDatabase.create();

  @AfterEach
  void close() {
    database.close();
  }

  @Test
  void statements_areWrittenOnce_withTheirState_andWithoutValues()
      throws SQLException, IOException {
    database.run("create table t (a int primary key, b uuid)");
    Path file = folder.resolve("deep/statements.jsonl");
    try (Recording recording = Recording.to(file);
        Connection connection = recording.of(database.newSource()).getConnection()) {
      for (int i = 0; i < 3; i++) {
        try (PreparedStatement insert =
            connection.prepareStatement("insert into t (a) values (?)")) {
          insert.setInt(1, i);
          insert.executeUpdate();
        }
      }
      try (PreparedStatement insert = connection.prepareStatement("insert into t (a) values (?)")) {
        insert.setInt(1, 4711);
        insert.addBatch();
        insert.setInt(1, 1);
        insert.addBatch();
        assertThatThrownBy(insert::executeBatch).isInstanceOf(SQLException.class);
      }
      try (PreparedStatement select =
          connection.prepareStatement("select a from t where b = ?::uuid")) {
        select.setString(1, "ssn-123-45-6789");
        assertThatThrownBy(select::executeQuery).isInstanceOf(SQLException.class);
      }
      try (Statement plain = connection.createStatement()) {
        assertThatThrownBy(() -> plain.execute("select missing from t"))
            .isInstanceOf(SQLException.class);
      }
    }
    assertThat(Files.readString(file))
        .isEqualTo(
            """
            {"sql":"insert into t (a) values (?)"}
            {"sql":"insert into t (a) values (?)","state":"23505"}
            {"sql":"select a from t where b = ?::uuid","state":"22P02"}
            {"sql":"select missing from t","state":"42703"}
            """);
  }
}
