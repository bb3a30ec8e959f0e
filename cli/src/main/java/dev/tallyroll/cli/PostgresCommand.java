package dev.tallyroll.cli;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import picocli.CommandLine.Command;

@Command(
    name = "postgres",
    description = "Runs only the embedded PostgreSQL and prints its URL, for psql and BI tools.")
final class PostgresCommand extends BaseCommand {
  @Override
  int run(DatabaseOptions.Opened opened) {
    if (opened.server() == null) {
      throw new TallyrollException(
          ErrorCode.USAGE, "postgres runs the embedded PostgreSQL: leave out --database-url");
    }
    opened.server().hold("postgres");
    out().println(opened.url());
    out().flush();
    say("PostgreSQL runs; Ctrl-C stops it");
    while (pause(1_000)) {
      // Nothing to do but to be there.
    }
    return 0;
  }
}
