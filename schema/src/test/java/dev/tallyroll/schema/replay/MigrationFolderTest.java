package dev.tallyroll.schema.replay;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.replay.MigrationFolder.Layout;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** In which order runners apply what lies in their folders. */
class MigrationFolderTest {
  @TempDir private Path folder = Path.of("");

  private void file(String name, String text) throws IOException {
    Path file = folder.resolve(name);
    Files.createDirectories(file.getParent());
    Files.writeString(file, text);
  }

  private void files(String... names) throws IOException {
    for (String name : names) {
      file(name, "select 1");
    }
  }

  private MigrationFolder read() {
    return MigrationFolder.read(folder, Optional.empty());
  }

  private void expect(Layout layout, String... names) {
    assertThat(read().layout()).isEqualTo(layout);
    assertThat(read().migrations().stream().map(Migration::name)).containsExactly(names);
  }

  @Test
  void plainFiles_goByTheBytesOfTheirNames_withoutStrays() throws IOException {
    files(
        "0010_c.sql",
        "002_b.sql",
        "0002_a.sql",
        "002_b.down.sql",
        "test_a.sql",
        "verify_a.sql",
        "schema.sql",
        "README.md",
        "old/001_x.sql");
    expect(Layout.NUMBERED, "0002_a.sql", "0010_c.sql", "002_b.sql");
    assertThat(read().notes())
        .containsExactly(
            "002_b.down.sql: passed over, for down",
            "README.md: passed over, not .sql",
            "old/001_x.sql: passed over, in a folder below",
            "schema.sql: passed over, without a number",
            "test_a.sql: passed over, a test",
            "verify_a.sql: passed over, a test");
  }

  @Test
  void filesWithoutNumbers_areMigrationsIfThereIsNothingElse() throws IOException {
    files("b.sql", "a.sql");
    expect(Layout.NUMBERED, "a.sql", "b.sql");
  }

  @Test
  void flyway_comparesVersionsAsNumbers_andRepeatsLast() throws IOException {
    files(
        "V10__c.sql",
        "V2__b.sql",
        "V1.10__b.sql",
        "V1_9__a.sql",
        "sub/V3__d.sql",
        "R__views.sql",
        "R__a.sql",
        "U2__b.sql",
        "beforeMigrate.sql");
    expect(
        Layout.FLYWAY,
        "V1_9__a.sql",
        "V1.10__b.sql",
        "V2__b.sql",
        "sub/V3__d.sql",
        "V10__c.sql",
        "R__a.sql",
        "R__views.sql");
    assertThat(read().notes())
        .containsExactly(
            "U2__b.sql: passed over, for undo, or without a version",
            "beforeMigrate.sql: passed over, no migration by its name");
  }

  @Test
  void flyway_beginsAtTheLastBaseline() throws IOException {
    files("V1__a.sql", "V2__b.sql", "B2__two.sql", "B1__one.sql", "V3__c.sql");
    file("V4__d.sql", "select ${flyway:user}");
    expect(Layout.FLYWAY, "B2__two.sql", "V3__c.sql", "V4__d.sql");
    assertThat(read().notes())
        .containsExactly(
            "B1__one.sql: passed over, before the last baseline",
            "V1__a.sql: passed over, in the baseline",
            "V2__b.sql: passed over, in the baseline",
            "V4__d.sql: the placeholder ${flyway:user} has no value here");
  }

  @Test
  void goose_goesByNumber() throws IOException {
    file("10_b.sql", "-- +goose Up\nselect 1;");
    file("9_a.sql", "-- +goose Up\nselect 1;");
    expect(Layout.GOOSE, "9_a.sql", "10_b.sql");
  }

  @Test
  void drizzle_goesByItsJournal() throws IOException {
    files("0000_b.sql", "0001_a.sql", "0002_never.sql");
    file(
        "meta/_journal.json",
        "{\"entries\": [{\"idx\": 0, \"tag\": \"0001_a\"}, {\"idx\": 1, \"tag\": \"0000_b\"}]}");
    expect(Layout.DRIZZLE, "0001_a.sql", "0000_b.sql");
    assertThat(read().notes()).containsExactly("0002_never.sql: passed over, not in the journal");
    file("meta/_journal.json", "{\"entries\": [{\"tag\": \"0009_gone\"}]}");
    assertThatThrownBy(this::read)
        .isInstanceOf(TallyrollException.class)
        .hasMessageContaining("'0009_gone', of which there is no file");
    file("meta/_journal.json", "{\"entries\": [{\"tag\": \"../../etc/x\"}]}");
    assertThatThrownBy(this::read).isInstanceOf(TallyrollException.class);
    file("meta/_journal.json", "{");
    assertThatThrownBy(this::read)
        .isInstanceOf(TallyrollException.class)
        .hasMessageContaining("not JSON");
  }

  @Test
  void prisma_hasAFolderForEach_alsoWithTheSameTime() throws IOException {
    files(
        "20260101000000_b/migration.sql", "20260101000000_a/migration.sql", "migration_lock.toml");
    expect(Layout.PRISMA, "20260101000000_a/migration.sql", "20260101000000_b/migration.sql");
    assertThat(read().migrations()).allMatch(Migration::isInTransaction);
  }

  @Test
  void golangMigrate_goesByNumber_upOnly() throws IOException {
    files("10_b.up.sql", "9_a.up.sql", "9_a.down.sql", "10_b.down.sql");
    expect(Layout.GOLANG_MIGRATE, "9_a.up.sql", "10_b.up.sql");
  }

  @Test
  void dbmateAndGoose_takeWhatIsForUp_onItsLines() throws IOException {
    file("20260101_a.sql", "-- migrate:up\ncreate table a ();\n-- migrate:down\ndrop table a;\n");
    file("20260102_b.sql", "-- migrate:up transaction:false\nselect 1;\n");
    expect(Layout.DBMATE, "20260101_a.sql", "20260102_b.sql");
    assertThat(read().migrations())
        .containsExactly(
            new Migration("20260101_a.sql", "-- migrate:up\ncreate table a ();\n\n", true),
            new Migration("20260102_b.sql", "-- migrate:up transaction:false\nselect 1;", false));
    file(
        "20260101_a.sql",
        "-- +goose Up\n-- +goose StatementBegin\nselect 1;\n-- +goose StatementEnd\n-- +goose Down\nselect 2;");
    file("20260102_b.sql", "-- +goose NO TRANSACTION\n-- +goose Up\nselect 3;");
    expect(Layout.GOOSE, "20260101_a.sql", "20260102_b.sql");
    assertThat(read().migrations().get(0).sql()).contains("select 1").doesNotContain("select 2");
    assertThat(read().migrations().get(1).isInTransaction()).isFalse();
  }

  @Test
  void supabase_isKnownByItsFolder() throws IOException {
    Path migrations = folder.resolve("supabase/migrations");
    Files.createDirectories(migrations);
    Files.writeString(migrations.resolve("20260101000000_a.sql"), "select 1");
    assertThat(MigrationFolder.read(migrations, Optional.empty()).layout())
        .isEqualTo(Layout.SUPABASE);
    assertThat(MigrationFolder.read(migrations, Optional.of(Layout.NUMBERED)).layout())
        .isEqualTo(Layout.NUMBERED);
  }

  @Test
  void whatCannotBeRead_isSaidInOneLine() throws IOException {
    assertThatThrownBy(() -> MigrationFolder.read(folder.resolve("none"), Optional.empty()))
        .hasMessage("no folder " + folder.resolve("none") + " with migrations");
    assertThatThrownBy(this::read).hasMessageContaining("has no migration for numbered");
    Files.write(folder.resolve("1_a.sql"), new byte[] {(byte) 0xff, (byte) 0xfe, 0});
    assertThatThrownBy(this::read).hasMessageEndingWith("1_a.sql: is not text in UTF-8");
    Files.write(folder.resolve("1_a.sql"), "a\0b".getBytes(StandardCharsets.UTF_8));
    assertThatThrownBy(this::read).hasMessageEndingWith("1_a.sql: is not text");
    try (RandomAccessFile large = new RandomAccessFile(folder.resolve("1_a.sql").toFile(), "rw")) {
      large.setLength(100L << 20);
    }
    assertThatThrownBy(this::read)
        .isInstanceOf(TallyrollException.class)
        .hasMessageEndingWith("1_a.sql: 100 MB are more than a migration has (64 MB)");
    assertThat(List.of(Layout.values()).toString()).contains("golang-migrate");
  }
}
