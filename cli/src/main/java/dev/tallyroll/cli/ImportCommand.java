package dev.tallyroll.cli;

import dev.tallyroll.cli.load.EventLoader;
import dev.tallyroll.cli.load.FileLoader;
import dev.tallyroll.cli.output.Progress;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.definition.Source;
import dev.tallyroll.model.time.Times;
import dev.tallyroll.postgres.catalog.SourceTable;
import dev.tallyroll.postgres.events.EventImport;
import dev.tallyroll.postgres.registry.Registry;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Faults;
import java.io.BufferedWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Instant;
import java.time.ZoneId;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "import",
    description = {
      "Loads CSV (with a header) or JSON Lines into a source table; each file wholly or not at all.",
      "Into tallyroll.event: CloudEvents in JSON Lines, of any age, each once; a file with a bad line not at all, and one that was broken off can be loaded again."
    })
final class ImportCommand extends BaseCommand {
  @Parameters(
      arity = "1..*",
      paramLabel = "FILE",
      description = "CSV, or JSON Lines if it ends in .jsonl, .ndjson or .json")
  private List<Path> files = List.of();

  @Option(
      names = "--table",
      required = true,
      paramLabel = "TABLE",
      description = "the table, as public.events")
  private String table = "";

  @Option(
      names = "--tenant",
      paramLabel = "TENANT",
      description = "the tenant of all rows; fills the tenant column")
  private @Nullable String tenant;

  @Option(
      names = "--tenant-column",
      paramLabel = "COLUMN",
      description = "the tenant column, where no rollup over the table says it")
  private @Nullable String tenantColumn;

  @Option(
      names = "--map",
      paramLabel = "OURS=THEIRS",
      description = "a column of the table and its name in the file; repeat")
  private Map<String, String> map = Map.of();

  @Option(
      names = "--ignore",
      paramLabel = "COLUMN",
      description = "a column of the file to pass over; repeat")
  private List<String> ignored = List.of();

  @Option(
      names = "--zone",
      defaultValue = "UTC",
      paramLabel = "ZONE",
      description = "the zone of time stamps without one (default: UTC)")
  private String zone = "UTC";

  @Option(
      names = "--skip-bad",
      paramLabel = "FILE",
      description = "collect bad rows there instead of refusing their file")
  private @Nullable Path skipBad;

  @Override
  int run(DatabaseOptions.Opened opened) throws Exception {
    try (Connection connection = opened.database().open("import");
        BufferedWriter bad = skipBad == null ? null : Files.newBufferedWriter(skipBad)) {
      SourceTable found = table(connection);
      if (found.schema().equals("tallyroll") && !found.isEventLog()) {
        throw new TallyrollException(
            ErrorCode.USAGE, table + " is Tallyroll's own; events are loaded into tallyroll.event");
      }
      if (found.isEventLog()) {
        importEvents(opened.database(), bad);
        return 0;
      }
      FileLoader loader = new FileLoader(connection, request(connection, found), bad);
      for (Path file : files) {
        FileLoader.Result result;
        try (Progress bar = Progress.start("import " + file.getFileName(), "bytes", size(file))) {
          result = loader.load(file, bar::step);
        }
        out()
            .println(
                "imported "
                    + result.rows()
                    + " rows of "
                    + file
                    + " into "
                    + table
                    + (result.bad() > 0 ? ", " + result.bad() + " bad rows in " + skipBad : ""));
        out().flush();
      }
    }
    return 0;
  }

  private void importEvents(Database database, @Nullable BufferedWriter bad) throws Exception {
    if (tenant == null) {
      throw new TallyrollException(
          ErrorCode.USAGE, "whose events are they? --tenant TENANT names one of `tenant list`");
    }
    if (tenantColumn != null || !map.isEmpty() || !ignored.isEmpty() || !zone.equals("UTC")) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--map, --ignore, --zone and --tenant-column are for other tables: the event log takes CloudEvents as they are");
    }
    try (EventImport events = new EventImport(database, tenant)) {
      EventLoader loader = new EventLoader(events, bad, Times.micros(Instant.now()));
      for (Path file : files) {
        EventLoader.Result result;
        try (Progress bar =
            Progress.start("import " + file.getFileName(), "bytes", 2 * size(file))) {
          result = loader.load(file, bar::step);
        }
        out()
            .println(
                "imported "
                    + result.added()
                    + " events of "
                    + file
                    + " into "
                    + table
                    + (result.known() > 0 ? ", " + result.known() + " were there already" : "")
                    + (result.bad() > 0 ? ", " + result.bad() + " bad lines in " + skipBad : ""));
        out().flush();
        if (result.isSoonPurged()) {
          say(
              file
                  + " held events that are older than the "
                  + events.keptDays()
                  + " days for which rows of the log are kept: they are counted at the next refresh, and purged at the next purge, within the hour where a server runs; after that nothing more of their days can be loaded");
        }
      }
    }
  }

  private static long size(Path file) throws IOException {
    return Files.exists(file) ? Files.size(file) : 0;
  }

  private SourceTable table(Connection connection) throws SQLException {
    int dot = table.indexOf('.');
    return SourceTable.find(
            connection, dot < 0 ? null : table.substring(0, dot), table.substring(dot + 1))
        .orElseThrow(() ->
            new TallyrollException(
                ErrorCode.USAGE,
                "no table "
                    + table
                    + (table.equals("tallyroll.event")
                        ? ": Tallyroll is not installed there, or of an earlier version; `apply` or `serve` makes it"
                        : "; create it first")));
  }

  private FileLoader.Request request(Connection connection, SourceTable found) throws SQLException {
    List<Source> sources = sources(connection, found);
    Map<String, ZoneId> zones = new HashMap<>();
    for (Source source : sources) {
      if (source.zone() != null) {
        zones.put(source.time(), ZoneId.of(source.zone()));
      }
    }
    Map<String, String> theirs = new HashMap<>();
    map.forEach((ours, name) -> {
      if (found.column(ours).isEmpty()) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            "--map "
                + ours
                + "="
                + name
                + ": no column '"
                + ours
                + "' in "
                + table
                + Names.didYouMean(ours, found.columnNames()));
      }
      theirs.put(name, ours);
    });
    Map<String, String> constants =
        tenant == null ? Map.of() : Map.of(tenantColumn(found, sources), tenant);
    return new FileLoader.Request(found, theirs, ignored, constants, zone(zone), zones);
  }

  private static List<Source> sources(Connection connection, SourceTable table)
      throws SQLException {
    return Registry.names(connection).stream()
        .map(name -> {
          try {
            return Registry.get(connection, name).bound();
          } catch (SQLException e) {
            throw Faults.of(e);
          }
        })
        .filter(bound -> bound.table().oid() == table.oid())
        .map(bound -> bound.rollup().source())
        .toList();
  }

  private String tenantColumn(SourceTable found, List<Source> sources) {
    Optional<String> known = sources.stream().map(Source::tenant).findFirst();
    String column = tenantColumn != null ? tenantColumn : known.orElse(null);
    if (column == null) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "no rollup over "
              + table
              + " says which column is the tenant: name it with --tenant-column");
    }
    if (found.column(column).isEmpty()) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--tenant-column: no column '"
              + column
              + "' in "
              + table
              + Names.didYouMean(column, found.columnNames()));
    }
    return column;
  }
}
