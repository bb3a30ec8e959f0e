package dev.tallyroll.cli;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.forget.Forget;
import java.time.InstantSource;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "forget",
    description =
        "Erases a tenant, or some of its rows, from source tables, change logs, rollups and quarantine, in one audited transaction.")
final class ForgetCommand extends BaseCommand {
  @Parameters(
      arity = "0..1",
      paramLabel = "NAME",
      description = "a rollup: only from its source, and all rollups over it; without it from all")
  private @Nullable String name;

  @Option(names = "--tenant", required = true, description = "the tenant")
  private String tenant = "";

  @Option(
      names = "--where",
      paramLabel = "PREDICATE",
      description = "only rows of the tenant that meet this SQL predicate, as \"user_id = 'u1'\"")
  private @Nullable String where;

  @Option(names = "--yes", description = "do it; what is erased cannot be brought back")
  private boolean isSure;

  @Override
  int run(DatabaseOptions.Opened opened) {
    if (!isSure) {
      throw new TallyrollException(
          ErrorCode.REFUSED,
          "this deletes rows of your tables for good; say --yes if that is what you want");
    }
    Forget.Forgotten forgotten =
        new Forget(opened.database(), InstantSource.system())
            .run(new Forget.Request(name, tenant, where));
    out()
        .println(
            "forgot "
                + forgotten.rows()
                + " rows of "
                + String.join(", ", forgotten.sources())
                + (where == null ? ", " + forgotten.partials() + " partials" : "")
                + " and "
                + forgotten.entries()
                + " entries of the quarantine; rollups: "
                + String.join(", ", forgotten.rollups()));
    out().println("left of them: " + forgotten.left());
    if (forgotten.sealed() > 0) {
      out()
          .println(
              forgotten.sealed()
                  + " of the rows lay behind a seal: what was counted of them stays in the rollups; only forgetting the whole tenant erases that");
    }
    if (forgotten.rows() + forgotten.partials() + forgotten.entries() == 0) {
      say(
          "there was nothing of tenant '"
              + tenant
              + (where == null
                  ? "'; is that how the tables spell it?"
                  : "' that meets the predicate"));
    }
    return forgotten.left() + forgotten.sealed() == 0 ? 0 : 1;
  }
}
