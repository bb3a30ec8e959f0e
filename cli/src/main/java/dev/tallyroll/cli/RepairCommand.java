package dev.tallyroll.cli;

import dev.tallyroll.postgres.verify.Verifier;
import java.time.InstantSource;
import java.util.OptionalInt;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@Command(
    name = "repair",
    description = "Recomputes exactly the buckets that differ from their source rows.")
final class RepairCommand extends BaseCommand {
  @Mixin private final VerifyOptions what = new VerifyOptions();

  @Option(
      names = "--accept-loss",
      description = "also erase buckets in which the source has no row of their tenant any more")
  private boolean acceptLoss;

  @Override
  int run(DatabaseOptions.Opened opened) {
    Verifier.Repaired repaired;
    try (VerifyOptions.Bar bar = new VerifyOptions.Bar("repair")) {
      repaired =
          new Verifier(opened.database(), InstantSource.system())
              .repair(what.request(OptionalInt.empty(), 0), acceptLoss, bar);
    }
    out().println("repaired " + repaired.rollup() + ": " + repaired.buckets() + " buckets");
    return 0;
  }
}
