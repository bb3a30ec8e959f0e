package dev.tallyroll.cli;

import dev.tallyroll.schema.replay.MigrationFolder;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Migrations, and the server on which they are tried. */
final class ScratchOptions {
  @Option(
      names = "--migrations",
      paramLabel = "DIR",
      description = "the migrations, which are applied to an empty database that is thrown away")
  private @Nullable Path migrations;

  @Option(
      names = "--layout",
      paramLabel = "LAYOUT",
      description =
          "for which runner: numbered, flyway, supabase, drizzle, prisma, golang-migrate, dbmate, goose (default: recognised)")
  private MigrationFolder.@Nullable Layout layout;

  @Option(
      names = "--scratch-url",
      paramLabel = "URL",
      description =
          "the server for that database, as a role that may make databases and roles (default: an embedded one of its own)")
  private @Nullable String url;

  /** The folder; null if none was named. */
  @Nullable Path migrations() {
    return migrations;
  }

  /** The server; null for the embedded one. */
  @Nullable String url() {
    return url;
  }

  /** Whether something was said that is of no use without migrations. */
  boolean isLost() {
    return migrations == null && (url != null || layout != null);
  }

  /** Reads a folder of the runner that was named, or is recognised. */
  MigrationFolder read(Path folder) {
    return MigrationFolder.read(folder, Optional.ofNullable(layout));
  }
}
