package dev.tallyroll.cli;

import picocli.CommandLine.Command;

@Command(
    name = "schema",
    description =
        "Finds faults in the schema, the migrations and the SQL of any PostgreSQL project.",
    subcommands = {SchemaAuditCommand.class, SchemaCheckCommand.class, SchemaGuardCommand.class})
final class SchemaCommand extends GroupCommand {}
