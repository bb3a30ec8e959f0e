package dev.tallyroll.cli;

import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParentCommand;
import picocli.CommandLine.Spec;

/** A command that only holds others, and shows them. */
@Command(mixinStandardHelpOptions = true, versionProvider = Main.Version.class, sortOptions = false)
abstract class GroupCommand implements Runnable {
  @ParentCommand private @Nullable Object parent;
  @Spec private @Nullable CommandSpec spec;

  /** The program, which knows the database. */
  final @Nullable Main parent() {
    return parent instanceof GroupCommand group
        ? group.parent()
        : parent instanceof Main root ? root : null;
  }

  @Override
  public void run() {
    if (spec != null) {
      spec.commandLine().usage(spec.commandLine().getOut());
    }
  }
}
