package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.access.Tenants;
import dev.tallyroll.postgres.registry.Schema;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "tenant",
    description = "Makes and lists the tenants that may send events to the server.",
    subcommands = {TenantCommand.CreateCommand.class, TenantCommand.ListCommand.class})
final class TenantCommand extends GroupCommand {
  private static final int PAGE = 10_000;

  @Command(name = "create", description = "Makes a tenant; the same again changes nothing.")
  static final class CreateCommand extends BaseCommand {
    @Parameters(
        paramLabel = "ID",
        description = "its id: letters, digits and . _ : @ -, up to 128, first a letter or digit")
    private String id = "";

    @Option(
        names = "--zone",
        paramLabel = "ZONE",
        defaultValue = "UTC",
        description = "the zone in which its days begin, as Asia/Kolkata (default: UTC)")
    private String zone = "UTC";

    @Override
    int run(DatabaseOptions.Opened opened) {
      Schema.migrate(opened.database());
      Tenants.Tenant made =
          new Tenants(opened.database())
              .create(id, zone(zone).getId())
              .orElseThrow(() ->
                  new TallyrollException(
                      ErrorCode.USAGE,
                      "tenant '"
                          + id
                          + "' is there, with another zone; see {tallyroll} tenant list"));
      out().println("tenant " + made.id() + ", zone " + made.zone());
      return 0;
    }
  }

  @Command(name = "list", description = "Lists the tenants.")
  static final class ListCommand extends BaseCommand {
    @Option(names = "--after", defaultValue = "", description = "only those behind this id")
    private String after = "";

    @Option(names = "--format", defaultValue = "table", description = "table, json or csv")
    private Format format = Format.TABLE;

    @Override
    int run(DatabaseOptions.Opened opened) {
      Table table = new Table(List.of("id", "zone", "created_at"));
      if (opened.database().with("serve", Schema::isThere)) {
        List<Tenants.Tenant> found = new Tenants(opened.database()).list(after, PAGE);
        found.forEach(tenant ->
            table.add(
                List.<@Nullable Object>of(
                    tenant.id(), tenant.zone(), tenant.createdAt().toString())));
        if (found.size() == PAGE) {
          say("there may be more; --after " + found.getLast().id() + " shows them");
        }
      }
      table.print(out(), format);
      return 0;
    }
  }
}
