package dev.tallyroll.postgres.access;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Sha256;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Credentials: {@code tr_<id>_<secret>}. The secret is 32 random bytes, of which only the SHA-256
 * is stored; a slow hash, as for passwords, would protect nothing more. Making, listing and
 * revoking is for the installer, looking up for servers. Thread-safe.
 */
public final class ApiKeys {
  private static final Pattern TOKEN = Pattern.compile("tr_([a-z0-9]{16})_([0-9a-f]{64})");
  private static final String DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789";
  private static final String COLUMNS =
      "id, tenant, scope, created_at, expires_at, revoked_at, last_used_at";

  private final Database database;
  private final SecureRandom random = new SecureRandom();

  /** Of a database, as the installer. */
  public ApiKeys(Database database) {
    this.database = database;
  }

  /**
   * A new credential; the only time that its secret is shown.
   *
   * @param key what it is
   * @param token the whole of it, as it stands behind {@code Bearer}
   */
  public record NewKey(ApiKey key, String token) {
    @Override
    public String toString() {
      return "NewKey[" + key.id() + "]";
    }
  }

  /**
   * Makes a credential.
   *
   * @param tenant whose it is to be; null for scope admin
   * @param expiresAt from when on it is not accepted any more; null for never
   * @throws TallyrollException if there is no such tenant, or tenant and scope do not go together
   */
  public NewKey create(@Nullable String tenant, Scope scope, @Nullable Instant expiresAt) {
    if ((scope == Scope.ADMIN) != (tenant == null)) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          scope == Scope.ADMIN
              ? "a key of scope admin is for all tenants: leave the tenant out"
              : "a key of scope " + scope.label() + " needs a tenant");
    }
    return database.transact(
        "serve",
        connection -> {
          boolean isThere = tenant == null || Tenants.isThere(connection, tenant);
          if (!isThere) {
            throw new TallyrollException(
                ErrorCode.UNKNOWN_NAME, "no such tenant; make it first: {tallyroll} tenant create");
          }
          return insert(connection, tenant, scope, expiresAt);
        });
  }

  /** Makes the first credential of scope admin; empty if there was ever one. */
  public Optional<NewKey> createFirstAdmin() {
    return database.transact(
        "serve",
        connection -> {
          Sql.run(connection, "lock table tallyroll.api_key in share row exclusive mode");
          return Sql.first(
                      connection,
                      "select 1 from tallyroll.api_key where scope = 'admin' limit 1",
                      row -> row.getInt(1))
                  .isPresent()
              ? Optional.<NewKey>empty()
              : Optional.of(insert(connection, null, Scope.ADMIN, null));
        });
  }

  private NewKey insert(
      Connection connection, @Nullable String tenant, Scope scope, @Nullable Instant expiresAt)
      throws SQLException {
    StringBuilder id = new StringBuilder();
    for (int i = 0; i < 16; i++) {
      id.append(DIGITS.charAt(random.nextInt(DIGITS.length())));
    }
    byte[] bytes = new byte[32];
    random.nextBytes(bytes);
    String secret = HexFormat.of().formatHex(bytes);
    ApiKey key =
        Sql.one(
            connection,
            "insert into tallyroll.api_key (id, tenant, scope, secret_hash, expires_at) values (?, ?, ?, ?, ?) returning "
                + COLUMNS,
            ApiKeys::key,
            id.toString(),
            tenant,
            scope.label(),
            Sha256.of(secret),
            expiresAt == null ? null : OffsetDateTime.ofInstant(expiresAt, ZoneOffset.UTC));
    return new NewKey(key, "tr_" + id + "_" + secret);
  }

  private static ApiKey key(ResultSet row) throws SQLException {
    return new ApiKey(
        row.getString(1),
        Optional.ofNullable(row.getString(2)),
        Scope.of(row.getString(3)).orElseThrow(),
        row.getObject(4, OffsetDateTime.class).toInstant(),
        instant(row, 5),
        instant(row, 6),
        instant(row, 7));
  }

  private static Optional<Instant> instant(ResultSet row, int column) throws SQLException {
    return Optional.ofNullable(row.getObject(column, OffsetDateTime.class))
        .map(OffsetDateTime::toInstant);
  }

  /**
   * Credentials in order of id, at most so many behind one.
   *
   * @param tenant only of this one; null for all
   */
  public List<ApiKey> list(@Nullable String tenant, String after, int most) {
    return database.with(
        "serve",
        connection ->
            Sql.list(
                connection,
                "select "
                    + COLUMNS
                    + " from tallyroll.api_key where (?::text is null or tenant = ?) and id > ? order by id limit ?",
                ApiKeys::key,
                tenant,
                tenant,
                after,
                most));
  }

  /** Revokes a credential; false if there is none of this id. Again changes nothing. */
  public boolean revoke(String id) {
    return database.transact(
            "serve",
            connection ->
                Sql.update(
                    connection,
                    "update tallyroll.api_key set revoked_at = coalesce(revoked_at, clock_timestamp()) where id = ?",
                    id))
        > 0;
  }

  /**
   * What a server knows of a credential while it trusts it.
   *
   * @param id its id
   * @param tenant whose it is; empty for scope admin
   * @param scope what it is for
   * @param hash the SHA-256 of its secret, as hexadecimal digits
   * @param expiresAt from when on it is not accepted any more
   * @param isRevoked whether it was revoked
   */
  public record Known(
      String id,
      Optional<String> tenant,
      Scope scope,
      String hash,
      Optional<Instant> expiresAt,
      boolean isRevoked) {
    /** Whether a secret is this credential's, and it holds at a time. */
    public boolean accepts(String secret, Instant now) {
      // In constant time: how far a guess agrees is nobody's to know.
      return MessageDigest.isEqual(HexFormat.of().parseHex(hash), Sha256.of(secret))
          && !isRevoked
          && expiresAt.map(now::isBefore).orElse(true);
    }
  }

  /** A token's id and secret. */
  public record Token(String id, String secret) {
    /** What a token says of itself; empty if it is none. */
    public static Optional<Token> parse(String text) {
      Matcher token = TOKEN.matcher(text);
      return token.matches()
          ? Optional.of(new Token(token.group(1), token.group(2)))
          : Optional.empty();
    }

    @Override
    public String toString() {
      return "Token[" + id + "]";
    }
  }

  /** Looks a credential up, as the role of servers. */
  public static Optional<Known> find(Connection connection, String id) throws SQLException {
    return Sql.first(
        connection,
        "select tenant, scope, secret_hash, expires_at, revoked_at is not null from tallyroll.find_api_key(?)",
        row ->
            new Known(
                id,
                Optional.ofNullable(row.getString(1)),
                Scope.of(row.getString(2)).orElseThrow(),
                HexFormat.of().formatHex(row.getBytes(3)),
                instant(row, 4),
                row.getBoolean(5)),
        id);
  }

  /** Writes down that credentials were used, as the role of servers. */
  public static void use(Connection connection, Collection<String> ids) throws SQLException {
    Sql.first(
        connection,
        "select 1 from tallyroll.use_api_keys(?)",
        row -> row.getInt(1),
        connection.createArrayOf("text", ids.toArray()));
  }
}
