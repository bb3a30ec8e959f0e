package dev.tallyroll.postgres.access;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.util.List;
import java.util.Optional;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** The tenants that may send events. For the installer. Thread-safe. */
public final class Tenants {
  /** What a tenant's id looks like: up to 128 characters, none of which needs quoting anywhere. */
  public static final Pattern ID = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}");

  private final Database database;

  /** Of a database, as the installer. */
  public Tenants(Database database) {
    this.database = database;
  }

  /**
   * A tenant.
   *
   * @param id its id, which events carry
   * @param zone the IANA zone in which its days begin
   * @param createdAt since when it is known
   */
  public record Tenant(String id, String zone, Instant createdAt) {}

  /**
   * Makes a tenant; of one that is there, the same again changes nothing.
   *
   * @param zone null for UTC
   * @return empty if a tenant of this id is there with another zone
   * @throws TallyrollException if id or zone are none
   */
  public Optional<Tenant> create(String id, @Nullable String zone) {
    if (!ID.matcher(id).matches()) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "a tenant's id is 1 to 128 letters, digits and . _ : @ -, of which the first is a letter or digit");
    }
    String checked = zone(zone == null ? "UTC" : zone);
    return database.transact(
        "serve",
        connection -> {
          Sql.update(
              connection,
              "insert into tallyroll.tenant (id, zone) values (?, ?) on conflict (id) do nothing",
              id,
              checked);
          return Sql.first(
              connection,
              "select id, zone, created_at from tallyroll.tenant where id = ? and zone = ?",
              Tenants::tenant,
              id,
              checked);
        });
  }

  private static String zone(String zone) {
    try {
      return ZoneId.of(zone).getId();
    } catch (DateTimeException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "unknown time zone" + Names.didYouMean(zone, ZoneId.getAvailableZoneIds()),
          e);
    }
  }

  private static Tenant tenant(java.sql.ResultSet row) throws java.sql.SQLException {
    return new Tenant(
        row.getString(1), row.getString(2), row.getObject(3, OffsetDateTime.class).toInstant());
  }

  /** The tenants in order of id, at most so many behind one. */
  public List<Tenant> list(String after, int most) {
    return database.with(
        "serve",
        connection ->
            Sql.list(
                connection,
                "select id, zone, created_at from tallyroll.tenant where id > ? order by id limit ?",
                Tenants::tenant,
                after,
                most));
  }

  /** Whether there is a tenant. */
  public static boolean isThere(Connection connection, String id) throws SQLException {
    return ID.matcher(id).matches()
        && Sql.first(
                connection, "select 1 from tallyroll.tenant where id = ?", row -> row.getInt(1), id)
            .isPresent();
  }
}
