package dev.tallyroll.cli;

import dev.tallyroll.postgres.install.Reanchor;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyReport;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.time.InstantSource;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "reanchor",
    description =
        "Takes a rollup over in another cluster, after a restored dump or pg_upgrade, with all others of its source.")
final class ReanchorCommand extends BaseCommand {
  @Parameters(paramLabel = "NAME", description = "the rollup")
  private String name = "";

  @Option(
      names = "--after-upgrade",
      description = "the cluster was upgraded by pg_upgrade: go on without a recount")
  private boolean afterUpgrade;

  @Override
  int run(DatabaseOptions.Opened opened) {
    List<String> names =
        new Reanchor(opened.database(), InstantSource.system()).run(name, afterUpgrade);
    if (names.isEmpty()) {
      out().println(name + " is of this cluster: nothing to do");
      return 0;
    }
    boolean isExact = true;
    for (String rollup : names) {
      out().println("reanchored " + rollup);
      out().flush();
      isExact &= afterUpgrade || isExact(opened, rollup);
    }
    return isExact ? 0 : 1;
  }

  private boolean isExact(DatabaseOptions.Opened opened, String rollup) {
    VerifyReport report;
    try (VerifyOptions.Bar bar = new VerifyOptions.Bar("verify")) {
      report =
          new Verifier(opened.database(), InstantSource.system())
              .verify(VerifyRequest.all(rollup), bar);
    }
    out().println(VerifyCommand.summary(report));
    if (!report.isExact()) {
      say(
          "tallyroll: "
              + rollup
              + " differs from its source, which was written to before this; see {tallyroll} verify "
              + rollup);
      VerifyCommand.remedies(report).forEach(this::say);
    }
    return report.isExact();
  }
}
