package dev.tallyroll.cli;

import dev.tallyroll.cli.output.Format;
import dev.tallyroll.cli.output.Table;
import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.postgres.access.ApiKey;
import dev.tallyroll.postgres.access.ApiKeys;
import dev.tallyroll.postgres.access.Scope;
import dev.tallyroll.postgres.registry.Schema;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
    name = "key",
    description = "Makes, lists and revokes the keys with which the server is asked.",
    subcommands = {
      KeyCommand.CreateCommand.class,
      KeyCommand.ListCommand.class,
      KeyCommand.RevokeCommand.class
    })
final class KeyCommand extends GroupCommand {
  private static final int PAGE = 10_000;

  @Command(name = "create", description = "Makes a key and shows it, for the only time.")
  static final class CreateCommand extends BaseCommand {
    @Option(
        names = "--tenant",
        paramLabel = "ID",
        description = "whose it is to be; leave it out for scope admin")
    private @Nullable String tenant;

    @Option(
        names = "--scope",
        paramLabel = "SCOPE",
        required = true,
        description =
            "ingest sends events, read asks for usage, admin makes tenants and keys and asks for usage of all")
    private String scope = "";

    @Option(
        names = "--expires-at",
        paramLabel = "TIME",
        description = "from when on it is not accepted any more, as 2027-01-01T00:00:00Z")
    private @Nullable String expiresAt;

    @Override
    int run(DatabaseOptions.Opened opened) {
      Scope asked =
          Scope.of(scope)
              .orElseThrow(() ->
                  new TallyrollException(
                      ErrorCode.USAGE, "--scope is ingest, read or admin, not '" + scope + "'"));
      Instant expires = null;
      if (expiresAt != null) {
        try {
          expires = OffsetDateTime.parse(expiresAt).toInstant();
        } catch (DateTimeException e) {
          throw new TallyrollException(
              ErrorCode.USAGE,
              "--expires-at is an instant, as 2027-01-01T00:00:00Z, not '" + expiresAt + "'",
              e);
        }
        if (!expires.isAfter(Instant.now())) {
          throw new TallyrollException(
              ErrorCode.USAGE, "--expires-at " + expiresAt + " lies in the past");
        }
      }
      Schema.migrate(opened.database());
      out().println(new ApiKeys(opened.database()).create(tenant, asked, expires).token());
      return 0;
    }
  }

  @Command(name = "list", description = "Lists the keys, without their secrets.")
  static final class ListCommand extends BaseCommand {
    @Option(names = "--tenant", paramLabel = "ID", description = "only this tenant's")
    private @Nullable String tenant;

    @Option(names = "--after", defaultValue = "", description = "only those behind this id")
    private String after = "";

    @Option(names = "--format", defaultValue = "table", description = "table, json or csv")
    private Format format = Format.TABLE;

    @Override
    int run(DatabaseOptions.Opened opened) {
      Table table =
          new Table(
              List.of(
                  "id",
                  "tenant",
                  "scope",
                  "created_at",
                  "expires_at",
                  "revoked_at",
                  "last_used_at"));
      if (opened.database().with("serve", Schema::isThere)) {
        List<ApiKey> found = new ApiKeys(opened.database()).list(tenant, after, PAGE);
        for (ApiKey key : found) {
          table.add(
              Arrays.asList(
                  key.id(),
                  key.tenant().orElse(null),
                  key.scope().label(),
                  key.createdAt().toString(),
                  key.expiresAt().map(Instant::toString).orElse(null),
                  key.revokedAt().map(Instant::toString).orElse(null),
                  key.lastUsedAt().map(Instant::toString).orElse(null)));
        }
        if (found.size() == PAGE) {
          say("there may be more; --after " + found.getLast().id() + " shows them");
        }
      }
      table.print(out(), format);
      return 0;
    }
  }

  @Command(
      name = "revoke",
      description = "Revokes a key; within 5 s no server accepts it any more.")
  static final class RevokeCommand extends BaseCommand {
    @Parameters(paramLabel = "ID", description = "its id: what stands between tr_ and the next _")
    private String id = "";

    @Override
    int run(DatabaseOptions.Opened opened) {
      if (!opened.database().with("serve", Schema::isThere)
          || !new ApiKeys(opened.database()).revoke(id)) {
        throw new TallyrollException(
            ErrorCode.UNKNOWN_NAME, "no key of id '" + id + "'; see {tallyroll} key list");
      }
      out().println("revoked " + id);
      return 0;
    }
  }
}
