package dev.tallyroll.cli;

import dev.tallyroll.postgres.verify.Verifier;
import java.time.InstantSource;
import java.util.OptionalInt;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
    name = "repair",
    description = "Recomputes exactly the buckets that differ from their source rows.")
final class RepairCommand extends BaseCommand {
  @Mixin private final VerifyOptions what = new VerifyOptions();

  @Override
  int run(DatabaseOptions.Opened opened) {
    Verifier.Repaired repaired;
    try (VerifyOptions.Bar bar = new VerifyOptions.Bar("repair")) {
      repaired =
          new Verifier(opened.database(), InstantSource.system())
              .repair(what.request(OptionalInt.empty(), 0), bar);
    }
    out().println("repaired " + repaired.rollup() + ": " + repaired.buckets() + " buckets");
    return 0;
  }
}
