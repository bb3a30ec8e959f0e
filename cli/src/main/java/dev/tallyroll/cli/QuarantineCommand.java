package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.events.EventQuarantine;
import dev.tallyroll.postgres.quarantine.Quarantine;
import dev.tallyroll.postgres.registry.Schema;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "quarantine",
    description = "Shows what could not be counted, with the reason, and tries it again.",
    subcommands = {
      QuarantineCommand.ListCommand.class,
      QuarantineCommand.ShowCommand.class,
      QuarantineCommand.ReplayCommand.class,
      QuarantineCommand.EventsCommand.class
    })
final class QuarantineCommand extends GroupCommand {
  private static Quarantine quarantine(DatabaseOptions.Opened opened) {
    return new Quarantine(opened.database(), InstantSource.system());
  }

  private static Table table(List<Quarantine.Entry> entries, boolean withRow) {
    List<String> columns =
        new ArrayList<>(List.of("id", "rollup", "since", "kind", "tenant", "reason"));
    if (withRow) {
      columns.add("row");
    }
    Table table = new Table(columns);
    for (Quarantine.Entry entry : entries) {
      List<@Nullable Object> row =
          new ArrayList<@Nullable Object>(
              Arrays.<@Nullable Object>asList(
                  entry.id(),
                  entry.rollup(),
                  entry.since().toString(),
                  entry.kind().name().toLowerCase(Locale.ROOT),
                  entry.tenant(),
                  entry.reason()));
      if (withRow) {
        row.add(new Table.Json(entry.row()));
      }
      table.add(row);
    }
    return table;
  }

  @Command(name = "list", description = "Lists entries, oldest first.")
  static final class ListCommand extends BaseCommand {
    @Parameters(
        arity = "0..1",
        paramLabel = "NAME",
        description = "the rollup; without it all of them")
    private @Nullable String name;

    @Option(names = "--tenant", description = "only this tenant's")
    private @Nullable String tenant;

    @Option(
        names = "--limit",
        defaultValue = "1000",
        description = "at most so many (default: ${DEFAULT-VALUE})")
    private int limit = 1_000;

    @Option(names = "--format", defaultValue = "table", description = "table, json or csv")
    private Format format = Format.TABLE;

    @Override
    int run(DatabaseOptions.Opened opened) throws Exception {
      if (limit < 1) {
        throw new TallyrollException(ErrorCode.USAGE, "--limit is at least 1, not " + limit);
      }
      // One more tells whether there are more.
      List<Quarantine.Entry> found =
          quarantine(opened).list(name, tenant, limit == Integer.MAX_VALUE ? limit : limit + 1);
      table(found.subList(0, Math.min(limit, found.size())), false).print(out(), format);
      if (found.size() > limit) {
        say("there are more than these " + limit + "; --limit shows more");
      }
      return 0;
    }
  }

  @Command(name = "show", description = "Shows one entry with its row.")
  static final class ShowCommand extends BaseCommand {
    @Parameters(paramLabel = "ID", description = "the entry's number, as list shows it")
    private long id;

    @Option(names = "--format", defaultValue = "json", description = "table, json or csv")
    private Format format = Format.JSON;

    @Override
    int run(DatabaseOptions.Opened opened) throws Exception {
      Quarantine.Entry entry =
          quarantine(opened)
              .show(id)
              .orElseThrow(() ->
                  new TallyrollException(
                      ErrorCode.UNKNOWN_NAME,
                      "no entry " + id + " in quarantine; see {tallyroll} quarantine list"));
      table(List.of(entry), true).print(out(), format);
      return 0;
    }
  }

  @Command(
      name = "events",
      description =
          "Lists what the server has acknowledged and could not count, newest first, with the reason.")
  static final class EventsCommand extends BaseCommand {
    @Option(names = "--tenant", defaultValue = "", description = "only this tenant's")
    private String tenant = "";

    @Option(
        names = "--limit",
        defaultValue = "100",
        description = "at most so many (default: ${DEFAULT-VALUE})")
    private int limit = 100;

    @Option(
        names = "--before",
        paramLabel = "ID",
        description = "only those before this entry, to go on")
    private long before = Long.MAX_VALUE;

    @Option(names = "--format", defaultValue = "table", description = "table, json or csv")
    private Format format = Format.TABLE;

    @Override
    int run(DatabaseOptions.Opened opened) {
      if (limit < 1) {
        throw new TallyrollException(ErrorCode.USAGE, "--limit is at least 1, not " + limit);
      }
      Table table = new Table(List.of("id", "tenant", "at", "kind", "reason", "payload"));
      opened
          .database()
          .with(
              "quarantine",
              connection ->
                  Schema.isThere(connection)
                      ? EventQuarantine.newest(connection, tenant, before, limit)
                      : List.<EventQuarantine.Entry>of())
          .forEach(entry ->
              table.add(
                  Arrays.asList(
                      entry.id(),
                      entry.tenant(),
                      entry.at().toString(),
                      entry.kind(),
                      entry.reason(),
                      entry.payload())));
      table.print(out(), format);
      return 0;
    }
  }

  @Command(
      name = "replay",
      description =
          "Tries rows again, after their reason is gone: what can be counted by now is, and leaves the quarantine.")
  static final class ReplayCommand extends BaseCommand {
    @Parameters(index = "0", paramLabel = "NAME", description = "the rollup")
    private String name = "";

    @Parameters(
        index = "1..*",
        arity = "0..*",
        paramLabel = "ID",
        description = "entries; without any, all of the rollup")
    private List<Long> ids = new ArrayList<>();

    @Override
    int run(DatabaseOptions.Opened opened) {
      Quarantine.Replayed replayed = quarantine(opened).replay(name, ids);
      out()
          .println(
              "replayed "
                  + name
                  + ": "
                  + replayed.counted()
                  + " rows counted"
                  + (replayed.expired() > 0
                      ? ", " + replayed.expired() + " older than every keep"
                      : "")
                  + ", "
                  + replayed.left()
                  + " entries remain");
      return 0;
    }
  }
}
