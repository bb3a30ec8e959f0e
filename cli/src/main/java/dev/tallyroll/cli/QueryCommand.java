package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.time.Every;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import java.time.InstantSource;
import java.util.List;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "query",
    description = "Shows usage by tenant, dimension, zone and range; fresh by default.")
final class QueryCommand extends BaseCommand {
  @Parameters(paramLabel = "NAME", description = "the rollup")
  private String name = "";

  @Option(
      names = "--measure",
      paramLabel = "MEASURE",
      description =
          "a measure, p95(x), avg(x), count(x), sum(x), min(x), max(x), rate(x) or a/b; repeat (default: all)")
  private List<String> measures = List.of();

  @Option(
      names = "--by",
      paramLabel = "DIMENSION",
      description = "group by this dimension too; repeat for several")
  private List<String> by = List.of();

  @Option(
      names = "--tenant",
      paramLabel = "TENANT",
      description = "only this tenant; repeat for several (default: all, a row each)")
  private List<String> tenants = List.of();

  @Option(
      names = "--where",
      paramLabel = "CONDITION",
      description = "dim=value or 'dim is null'; repeat: all must hold")
  private List<String> where = List.of();

  @Option(
      names = "--from",
      paramLabel = "TIME",
      description = "start, a local date or an instant (default: seven days ago)")
  private @Nullable String from;

  @Option(
      names = "--to",
      paramLabel = "TIME",
      description = "end, exclusive (default: the end of today)")
  private @Nullable String to;

  @Option(
      names = "--every",
      paramLabel = "UNIT",
      defaultValue = "1d",
      description = "1m, 5m, 1h, 1d, 1w, 1mo or all (default: 1d)")
  private String every = "1d";

  @Option(
      names = "--zone",
      paramLabel = "ZONE",
      defaultValue = "UTC",
      description = "the zone of the calendar, as Asia/Kolkata (default: UTC)")
  private String zone = "UTC";

  @Option(
      names = "--top",
      paramLabel = "N",
      description = "keep the N largest of --by by the first measure, fold the rest into (other)")
  private @Nullable Integer top;

  @Option(names = "--fill", description = "a row for empty buckets too")
  private boolean fill;

  @Option(names = "--stale", description = "without what no refresh has merged yet")
  private boolean stale;

  @Option(
      names = "--partial",
      description = "answer although history is not filled yet, and say so")
  private boolean partial;

  @Option(names = "--format", defaultValue = "table", description = "table, json or csv")
  private Format format = Format.TABLE;

  @Override
  int run(DatabaseOptions.Opened opened) {
    QueryResult result = new QueryEngine(opened.database(), InstantSource.system()).run(request());
    Table table = new Table(result.columns());
    result.rows().forEach(table::add);
    table.print(out(), format);
    result.incomplete().ifPresent(what -> say("tallyroll: incomplete: " + what));
    return 0;
  }

  private QueryRequest request() {
    if (top != null && (top < 1 || by.isEmpty())) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          top < 1 ? "--top takes a number from 1 on" : "--top needs a --by to choose from");
    }
    return new QueryRequest(
        name,
        measures,
        by,
        tenants,
        where.stream().map(QueryRequest.Condition::parse).toList(),
        from,
        to,
        Every.of(every)
            .orElseThrow(() ->
                new TallyrollException(
                    ErrorCode.USAGE,
                    "--every is one of "
                        + String.join(", ", Every.labels())
                        + ", not '"
                        + every
                        + "'")),
        zone(zone),
        top == null ? OptionalInt.empty() : OptionalInt.of(top),
        fill,
        stale,
        partial);
  }
}
