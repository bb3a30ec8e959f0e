package dev.tallyroll.schema.check;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * What a runner has written down that it applied to a database, in that order.
 *
 * @param applied the migrations of the folder that are applied, in the order of the ledger
 * @param missing entries of which the folder has no file
 */
public record Ledger(List<Migration> applied, List<String> missing) {

  /** Copies. */
  public Ledger {
    applied = List.copyOf(applied);
    missing = List.copyOf(missing);
  }

  /**
   * Reads a ledger: one entry a line, in the order in which they were applied, as a file's name, or
   * as a version. Of golang-migrate, whose ledger is one number, all up to that one are applied.
   *
   * @param file its name, for messages
   * @throws TallyrollException if it is empty
   */
  public static Ledger read(String file, String text, MigrationFolder folder) {
    List<String> entries =
        text.lines()
            .map(String::strip)
            .filter(line -> !line.isEmpty() && !line.startsWith("#"))
            .toList();
    if (entries.isEmpty()) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          file
              + " names no applied migration: one a line, in the order in which they were applied");
    }
    Set<Migration> applied = new LinkedHashSet<>();
    List<String> missing = new ArrayList<>();
    if (folder.layout() == MigrationFolder.Layout.GOLANG_MIGRATE && entries.size() == 1) {
      int last = find(folder, entries.getFirst()).map(folder.migrations()::indexOf).orElse(-1);
      if (last < 0) {
        missing.add(entries.getFirst());
      }
      applied.addAll(folder.migrations().subList(0, last + 1));
      return new Ledger(List.copyOf(applied), missing);
    }
    for (String entry : entries) {
      if (folder.layout() == MigrationFolder.Layout.GOOSE && entry.equals("0")) {
        // Its first row is of no file.
        continue;
      }
      find(folder, entry).ifPresentOrElse(applied::add, () -> missing.add(entry));
    }
    return new Ledger(List.copyOf(applied), missing);
  }

  /**
   * What databases have that were made by an older state of a folder: its files as they were then.
   */
  public static Ledger of(MigrationFolder before, MigrationFolder folder) {
    Set<String> names =
        folder.migrations().stream().map(Migration::name).collect(Collectors.toSet());
    return new Ledger(
        before.migrations(),
        before.migrations().stream()
            .map(Migration::name)
            .filter(name -> !names.contains(name))
            .toList());
  }

  private static Optional<Migration> find(MigrationFolder folder, String entry) {
    String wanted = bare(entry);
    return folder.migrations().stream()
        .filter(migration -> bare(migration.name()).equals(wanted))
        .findFirst()
        .or(() ->
            folder.migrations().stream()
                .filter(migration ->
                    wanted.matches("[0-9._]+")
                        && !MigrationFolder.isRepeatable(migration.name())
                        && MigrationFolder.version(bare(migration.name()))
                            .equals(MigrationFolder.version(wanted)))
                .findFirst());
  }

  private static String bare(String name) {
    String path = name.replace('\\', '/').replaceFirst("/migration\\.sql$", "");
    return path.substring(path.lastIndexOf('/') + 1).replaceFirst("(\\.up)?\\.sql$", "");
  }

  /** Whether it has been applied. */
  public boolean has(Migration migration) {
    return applied.stream().anyMatch(each -> each.name().equals(migration.name()));
  }
}
